/* cgroup: how much memory and processor time the container, or service, this process runs in may use. */
#ifndef HL_IO_CGROUP_H
#define HL_IO_CGROUP_H

#include <stdint.h>

/* Bytes: the least limit of the process's memory cgroup and those above it, of version 2 or 1; -1 =
 * there is none. self: "/proc/self/cgroup", root: "/sys/fs/cgroup". */
int64_t cgroup_memory_limit(const char *self, const char *root);

/* Thousandths of a core: the least quota of the process's cpu cgroup and those above it that are to be seen, of
 * version 2 or 1; -1 = there is none. root: "", or a folder that stands for "/": it has proc/self/cgroup,
 * proc/self/mountinfo, and what they name. */
int64_t cgroup_cpu_millis(const char *root);

#endif
