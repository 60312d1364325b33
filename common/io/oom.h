/* oom: did the kernel's OOM killer do it? It kills with SIGKILL like anybody else, but it counts:
 * in the memory cgroup of this process, or where there is none that can be read, for the whole
 * machine. A supervisor with children looks at the counter when one of them dies of SIGKILL. */
#ifndef HL_IO_OOM_H
#define HL_IO_OOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OOM_PATH_MAX 512

struct oom_watch {
    char path[OOM_PATH_MAX]; /* of the counter; "" = there is none, nothing is ever claimed */
    int64_t known;           /* kills that are accounted for */
    int64_t sampled, sampled_at;
};

/* Finds the counter; what it has counted so far is accounted for. */
void oom_watch_init(struct oom_watch *w, int64_t now_ms);
/* To be called now and then: kills that nobody has claimed within 10 to 20 s were others'. */
void oom_watch_tick(struct oom_watch *w, int64_t now_ms);
/* True when there was a kill that is not accounted for; then it is. */
bool oom_watch_claim(struct oom_watch *w);

/* The files that may hold the counter, best first, from the text of /proc/self/cgroup. How many. */
size_t oom_files(const char *cgroups, char (*paths)[OOM_PATH_MAX], size_t max);
/* The number on the line "oom_kill N" of such a file; -1 when it has none. */
int64_t oom_count(const char *text);

#endif
