// Makes Node.js refuse external buffers, as runtimes whose heap is a cage of its own do (Electron).
//
// The addon looks up each function of Node-API with dlsym. This library is preloaded and has another dlsym, which hands
// out refusing functions in place of two of them. It reports each refusal on the standard error.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

// napi_no_external_buffers_allowed
#define REFUSED 22

#if defined(__aarch64__)
#define DLSYM_VERSION "GLIBC_2.17"
#else
#define DLSYM_VERSION "GLIBC_2.2.5"
#endif

static int refuse(const char *report) {
  return write(STDERR_FILENO, report, strlen(report)) < 0 ? 1 : REFUSED;
}

static int refuse_buffer(void *env, size_t length, void *data, void *finalize, void *hint, void *result) {
  return refuse("refused a buffer\n");
}

static int refuse_arraybuffer(void *env, void *data, size_t length, void *finalize, void *hint, void *result) {
  return refuse("refused an array buffer\n");
}

void *dlsym(void *restrict handle, const char *restrict name) {
  static void *(*real)(void *, const char *);
  if (strcmp(name, "napi_create_external_buffer") == 0) return refuse_buffer;
  if (strcmp(name, "napi_create_external_arraybuffer") == 0) return refuse_arraybuffer;
  if (real == NULL) real = dlvsym(RTLD_NEXT, "dlsym", DLSYM_VERSION);
  return real(handle, name);
}
