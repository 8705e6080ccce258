"""Define the words of a verdict and the bases that it can rest on; site/templates/method.html.j2 explains each."""

MEASURED = "measured on the published hardware and model"
MEASURED_ELSEWHERE = "measured on other hardware"
RANDOM_WEIGHTS = "measured with random weights"
STAND_IN = "seen on a stand-in"
COMPUTED = "computed"
PUBLISHED_FIGURES = "published figures against each other"
SOURCES = "read in sources"
TEXT = "read in the text or script"
NO_BASIS = "none"

REPRODUCED, NOT_REPRODUCED, FASTER, SLOWER = "reproduced", "not reproduced", "faster now", "slower now"
ELSEWHERE = "measured elsewhere"
FITS, DOES_NOT_FIT, FITS_NARROWLY = "fits", "does not fit", "fits narrowly, not decided"
SEEN, CONTRADICTED = "seen", "contradicted"
CONFIRMED, OUTDATED = "confirmed in sources", "outdated"
CONSISTENT, INCONSISTENT = "consistent", "inconsistent"
IMPRECISE, NOT_DELIVERED, NOT_A_MEASUREMENT = "imprecise", "not delivered", "not a measurement"
NOT_COMPARABLE, NOT_MEASURED = "not comparable", "not re-measured"
UNREADABLE, OUT_OF_SCOPE, OPINION = "unreadable", "out of scope", "opinion"

# A verdict has one of the words of its basis: the first four belong to a measurement under the published conditions.
WORDS_BY_BASIS = {
    MEASURED: (REPRODUCED, NOT_REPRODUCED, FASTER, SLOWER),
    MEASURED_ELSEWHERE: (ELSEWHERE, NOT_COMPARABLE, SEEN, CONTRADICTED),
    RANDOM_WEIGHTS: (ELSEWHERE, NOT_COMPARABLE, SEEN, CONTRADICTED),
    STAND_IN: (SEEN, CONTRADICTED),
    COMPUTED: (FITS, DOES_NOT_FIT, FITS_NARROWLY),
    PUBLISHED_FIGURES: (CONSISTENT, INCONSISTENT),
    SOURCES: (CONFIRMED, CONTRADICTED, OUTDATED, IMPRECISE, NOT_MEASURED),
    TEXT: (SEEN, CONTRADICTED, NOT_DELIVERED, NOT_A_MEASUREMENT, NOT_MEASURED),
    NO_BASIS: (NOT_MEASURED, UNREADABLE, OUT_OF_SCOPE, OPINION),
}
BASES = tuple(WORDS_BY_BASIS)
VERDICTS = tuple(dict.fromkeys(word for words in WORDS_BY_BASIS.values() for word in words))
