"""Define the words of a verdict; site/templates/method.html.j2 explains each to the reader."""

REPRODUCED, REFUTED, OUTDATED = "reproduced", "refuted", "outdated"
FASTER, SLOWER = "faster now", "slower now"
NOT_COMPARABLE, NOT_TESTABLE, OPINION = "not comparable", "not testable here", "opinion"
DECIDED = (REPRODUCED, REFUTED, FASTER, SLOWER, OUTDATED)
VERDICTS = (*DECIDED, NOT_COMPARABLE, NOT_TESTABLE, OPINION)
