/* A stand-in for NVIDIA's libcuda.so.1: answers of the driver's C interface, from the environment.
 *
 * STANDIN_RESULT    what cuInit gives (0: all is well)
 * STANDIN_COUNT     GPUs
 * STANDIN_NAME      what it is called
 * STANDIN_CAPABILITY, STANDIN_SMS, STANDIN_CUDA   such as 90, 132, 13000
 */
#include <stdlib.h>
#include <string.h>

static int number(const char *name, int usual) {
    const char *text = getenv(name);
    return text ? atoi(text) : usual;
}

int cuInit(unsigned int flags) { return flags ? 1 : number("STANDIN_RESULT", 0); }
int cuDeviceGetCount(int *count) { *count = number("STANDIN_COUNT", 1); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDriverGetVersion(int *version) { *version = number("STANDIN_CUDA", 13000); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    *bytes = (size_t)80 << 30;
    return 0;
}
int cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    const char *given = getenv("STANDIN_NAME");
    strncpy(name, given ? given : "NVIDIA H100 80GB HBM3", (size_t)length);
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    int capability = number("STANDIN_CAPABILITY", 90);
    (void)device;
    switch (attribute) {
    case 16: *value = number("STANDIN_SMS", 132); return 0;
    case 75: *value = capability / 10; return 0;
    case 76: *value = capability % 10; return 0;
    }
    return 1;
}
