/* A stand-in for NVIDIA's libnvidia-ml.so.1: real calls into a real library, numbers that nobody measured.
 *
 * STANDIN says what it plays: "full", "vgpu" (no power, clocks, temperature), "old" (a driver before 535), "lost" (gone
 * after 12 questions about memory), "none" (no device), "unloaded" (no kernel driver). Power is always 100 W. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } process_t;

static int asked = 0;
static int plays(const char *what) { const char *it = getenv("STANDIN"); return it && strcmp(it, what) == 0; }
static int lost(void) { return plays("lost") && asked > 12 ? GPU_IS_LOST : SUCCESS; }
static int told(void) { return plays("vgpu") ? NOT_SUPPORTED : lost(); }

int nvmlInitWithFlags(unsigned int flags) { return plays("unloaded") ? DRIVER_NOT_LOADED : SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "an error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned int size) { strcpy(text, "0.0.standin"); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = plays("none") ? 0 : 1; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) { *handle = &asked; return SUCCESS; }
int nvmlDeviceGetName(void *h, char *text, unsigned int size) { strcpy(text, "STAND-IN GPU"); return SUCCESS; }
int nvmlDeviceGetMemoryInfo(void *h, memory_t *m) { /* what is reserved counts as used */
    m->total = 24ULL << 30; m->used = (1ULL << 30) + (1ULL << 28); m->free = m->total - m->used;
    return lost();
}
int nvmlDeviceGetMemoryInfo_v2(void *h, memory_v2_t *m) {
    asked++;
    m->total = 24ULL << 30; m->reserved = 1ULL << 28; m->used = 1ULL << 30; m->free = m->total - m->used - m->reserved;
    return plays("old") ? NOT_SUPPORTED : lost();
}
int nvmlDeviceGetUtilizationRates(void *h, utilization_t *u) { u->gpu = 50; u->memory = 25; return lost(); }
int nvmlDeviceGetPowerUsage(void *h, unsigned int *mw) { *mw = 100000; return told(); }
int nvmlDeviceGetEnforcedPowerLimit(void *h, unsigned int *mw) { *mw = 150000; return told(); }
int nvmlDeviceGetTotalEnergyConsumption(void *h, unsigned long long *mj) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *mj = 100ULL * (now.tv_sec * 1000ULL + now.tv_nsec / 1000000);
    return told();
}
int nvmlDeviceGetClockInfo(void *h, int which, unsigned int *mhz) { *mhz = 1410; return told(); }
int nvmlDeviceGetTemperature(void *h, int which, unsigned int *c) { *c = 40; return told(); }
int nvmlDeviceGetCurrentClocksEventReasons(void *h, unsigned long long *mask) {
    *mask = 0x4 | 0x1;
    return plays("old") ? NOT_SUPPORTED : told();
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, unsigned long long *mask) { *mask = 0x4 | 0x1; return told(); }
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned int *count, process_t *list) {
    if (lost()) return GPU_IS_LOST;
    if (!list) { *count = 2; return INSUFFICIENT_SIZE; }
    const char *ours = getenv("STANDIN_PID");
    list[0] = (process_t){ours ? atoi(ours) : 1, 1ULL << 29, 0, 0};
    list[1] = (process_t){1, 1ULL << 29, 0, 0};
    *count = 2;
    return SUCCESS;
}
