/* A libnvidia-ml.so.1 without a GPU behind it, for the unmodified pynvml.
 *
 * FAKE_NVML names a scenario: a text file of "key value" lines, read anew by nvmlInit.
 *
 *     driver 570.86.15            what the query of that name answers
 *     cuda 12080
 *     init 18                     nvmlInit fails with this NVML code
 *     hang nvmlDeviceGetName      that function never returns
 *     gpus 2
 *     gpu 0 name NVIDIA H100 80GB HBM3
 *     gpu 0 total_mib 81559       also reserved_mib, used_mib, uuid, bus, capability, power_mw, ...
 *     gpu 0 fails nvmlDeviceGetEccMode 3
 *     gpu 0 process 4711 6144 /usr/bin/python3
 *     mig 0 1 uuid MIG-...        instance 1 of GPU 0, keys as for gpu
 *     p2p 0 1 0                   nvmlDeviceGetP2PStatus; ancestor 0 1 30 likewise
 *
 * A key that is missing answers NVML_ERROR_NOT_SUPPORTED, as cards do. Build: cc -shared -fPIC.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
#define MIB (1ULL << 20)
#define MAX_GPUS 16
#define MAX_INSTANCES 8

typedef struct { int gpu, instance; } device; /* instance -1: the whole GPU */
typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci_info;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process_info;
typedef struct {
    unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long long memory_mb;
} attributes;

static device devices[MAX_GPUS][MAX_INSTANCES + 1];
static char scenario[1 << 16];

static const char *value_of(const char *key)
{
    static char found[512];
    size_t length = strlen(key);
    for (const char *line = scenario; *line;) {
        size_t end = strcspn(line, "\n");
        if (!strncmp(line, key, length) && line[length] == ' ') {
            snprintf(found, sizeof found, "%.*s", (int)(end - length - 1), line + length + 1);
            return found;
        }
        line += end + (line[end] == '\n');
    }
    return NULL;
}

static const char *fact(const device *of, const char *name)
{
    char key[128];
    if (of->instance < 0)
        snprintf(key, sizeof key, "gpu %d %s", of->gpu, name);
    else
        snprintf(key, sizeof key, "mig %d %d %s", of->gpu, of->instance, name);
    return value_of(key);
}

static int number(const device *of, const char *name, unsigned long long *out)
{
    const char *value = fact(of, name);
    if (!value) return NOT_SUPPORTED;
    *out = strtoull(value, NULL, 10);
    return SUCCESS;
}

/* The code with which the scenario wants `function` to fail, after hanging if it wants that. */
static int trouble(const char *function, const device *of)
{
    char key[128];
    const char *hanging = value_of("hang");
    if (hanging && !strcmp(hanging, function))
        for (;;) pause();
    if (!of) return SUCCESS;
    snprintf(key, sizeof key, "fails %s", function);
    const char *code = fact(of, key);
    return code ? atoi(code) : SUCCESS;
}

#define CHECK(of)                                                                                                      \
    do {                                                                                                               \
        int code = trouble(__func__, of);                                                                              \
        if (code) return code;                                                                                         \
    } while (0)

static int text(const char *value, char *out, unsigned size)
{
    if (!value) return NOT_SUPPORTED;
    snprintf(out, size, "%s", value);
    return SUCCESS;
}

static int small(const device *of, const char *name, unsigned *out)
{
    unsigned long long value;
    int code = number(of, name, &value);
    if (!code) *out = (unsigned)value;
    return code;
}

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 9; /* driver not loaded */
    scenario[fread(scenario, 1, sizeof scenario - 1, file)] = 0;
    fclose(file);
    CHECK(NULL);
    const char *code = value_of("init");
    return code ? atoi(code) : SUCCESS;
}

int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == 18 ? "Driver/library version mismatch" : "fake error"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { return text(value_of("driver"), out, size); }

int nvmlSystemGetCudaDriverVersion_v2(int *out)
{
    const char *value = value_of("cuda");
    if (value) *out = atoi(value);
    return value ? SUCCESS : NOT_SUPPORTED;
}

int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size)
{
    char key[64];
    snprintf(key, sizeof key, "process %u", pid);
    return text(value_of(key), out, size);
}

int nvmlDeviceGetCount_v2(unsigned *out)
{
    const char *value = value_of("gpus");
    *out = value ? (unsigned)atoi(value) : 0;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **out)
{
    if (index >= MAX_GPUS) return INVALID_ARGUMENT;
    device *of = &devices[index][0];
    *of = (device){(int)index, -1};
    CHECK(of);
    *out = of;
    return SUCCESS;
}

int nvmlDeviceGetName(device *of, char *out, unsigned size) { CHECK(of); return text(fact(of, "name"), out, size); }
int nvmlDeviceGetUUID(device *of, char *out, unsigned size) { CHECK(of); return text(fact(of, "uuid"), out, size); }

int nvmlDeviceGetMemoryInfo(device *of, memory_v1 *out)
{
    unsigned long long total, reserved = 0, used = 0;
    CHECK(of);
    if (number(of, "total_mib", &total)) return NOT_SUPPORTED;
    number(of, "reserved_mib", &reserved);
    number(of, "used_mib", &used);
    *out = (memory_v1){total * MIB, (total - reserved - used) * MIB, (reserved + used) * MIB};
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(device *of, memory_v2 *out)
{
    unsigned long long total, reserved = 0, used = 0;
    CHECK(of);
    if (number(of, "total_mib", &total)) return NOT_SUPPORTED;
    number(of, "reserved_mib", &reserved);
    number(of, "used_mib", &used);
    *out = (memory_v2){out->version, total * MIB, reserved * MIB, (total - reserved - used) * MIB, used * MIB};
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(device *of, int *major, int *minor)
{
    CHECK(of);
    const char *value = fact(of, "capability");
    return value && sscanf(value, "%d.%d", major, minor) == 2 ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetEnforcedPowerLimit(device *of, unsigned *out) { CHECK(of); return small(of, "power_mw", out); }
int nvmlDeviceGetMaxPcieLinkGeneration(device *of, unsigned *out) { CHECK(of); return small(of, "pcie_gen", out); }
int nvmlDeviceGetMaxPcieLinkWidth(device *of, unsigned *out) { CHECK(of); return small(of, "pcie_width", out); }

int nvmlDeviceGetEccMode(device *of, unsigned *current, unsigned *pending)
{
    CHECK(of);
    int code = small(of, "ecc", current);
    *pending = *current;
    return code;
}

int nvmlDeviceGetPciInfo_v3(device *of, pci_info *out)
{
    CHECK(of);
    memset(out, 0, sizeof *out);
    return text(fact(of, "bus"), out->bus_id, sizeof out->bus_id);
}

int nvmlDeviceGetNvLinkState(device *of, unsigned link, unsigned *active)
{
    unsigned long long links;
    CHECK(of);
    if (number(of, "nvlinks", &links)) return NOT_SUPPORTED;
    if (link >= links) return INVALID_ARGUMENT;
    *active = 1;
    return SUCCESS;
}

static int of_pair(const char *kind, const device *one, const device *two, int *out)
{
    char key[64];
    snprintf(key, sizeof key, "%s %d %d", kind, one->gpu, two->gpu);
    const char *value = value_of(key);
    if (!value) {
        snprintf(key, sizeof key, "%s all", kind);
        value = value_of(key);
    }
    if (value) *out = atoi(value);
    return value ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetP2PStatus(device *one, device *two, int which, int *out)
{
    (void)which;
    CHECK(one);
    return of_pair("p2p", one, two, out);
}

int nvmlDeviceGetTopologyCommonAncestor(device *one, device *two, int *out)
{
    CHECK(one);
    return of_pair("ancestor", one, two, out);
}

int nvmlDeviceGetComputeRunningProcesses_v3(device *of, unsigned *count, process_info *out)
{
    CHECK(of);
    const char *value = fact(of, "process");
    unsigned room = *count, pid;
    unsigned long long used_mib;
    *count = value ? 1 : 0;
    if (!value) return SUCCESS;
    if (room < 1) return INSUFFICIENT_SIZE;
    if (sscanf(value, "%u %llu", &pid, &used_mib) != 2) return NOT_SUPPORTED;
    out[0] = (process_info){pid, used_mib * MIB, ~0u, ~0u};
    return SUCCESS;
}

int nvmlDeviceGetMigMode(device *of, unsigned *current, unsigned *pending)
{
    CHECK(of);
    int code = small(of, "mig", current);
    *pending = *current;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(device *of, unsigned *out) { CHECK(of); *out = MAX_INSTANCES - 1; return SUCCESS; }

int nvmlDeviceGetMigDeviceHandleByIndex(device *of, unsigned index, device **out)
{
    CHECK(of);
    if (index >= MAX_INSTANCES) return INVALID_ARGUMENT;
    device *instance = &devices[of->gpu][index + 1];
    *instance = (device){of->gpu, (int)index};
    *out = instance;
    return fact(instance, "uuid") ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetAttributes_v2(device *of, attributes *out)
{
    CHECK(of);
    memset(out, 0, sizeof *out);
    return small(of, "gpu_slices", &out->gpu_slices);
}
