/* cgroup: how much memory the container, or service, this process runs in may use. */
#ifndef HL_WORKER_CTL_CGROUP_H
#define HL_WORKER_CTL_CGROUP_H

#include <stdint.h>

/* Bytes: the least limit of the process's memory cgroup and those above it, of version 2 or 1; -1 =
 * there is none. self: "/proc/self/cgroup", root: "/sys/fs/cgroup". */
int64_t cgroup_memory_limit(const char *self, const char *root);

#endif
