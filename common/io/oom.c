/* oom: see oom.h. The counter rises before the victim gets its signal (mm/oom_kill.c), so whoever
 * hears of the death finds it raised. */
#include "io/oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLE_MS = 10000, FILE_MAX = 16384, FILES = 5 };

#define HOST_FILE "/proc/vmstat"

/* --- what the kernel writes -------------------------------------------------------------- */

int64_t oom_count(const char *text)
{
    static const char key[] = "oom_kill ";
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, sizeof(key) - 1) == 0)
            return strtoll(line + sizeof(key) - 1, NULL, 10);
    }
    return -1;
}

static bool is_word_of(const char *list, size_t len, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; at < list + len; at += strcspn(at, ",:") + 1)
        if (strncmp(at, word, n) == 0 && (at[n] == ',' || at[n] == ':'))
            return true;
    return false;
}

static size_t add(char (*paths)[OOM_PATH_MAX], size_t n, size_t max, const char *folder,
    const char *group, size_t len, const char *file)
{
    if (n >= max)
        return n;
    int size = snprintf(paths[n], OOM_PATH_MAX, "%s%.*s/%s", folder, (int)len, group, file);
    return n + (size > 0 && size < OOM_PATH_MAX);
}

/* Lines are "id:controllers:/group"; version 2 has no controllers there. Inside a container the
 * group may be named as the host sees it, while the container's own is what is mounted: then the
 * folder without it is right. */
size_t oom_files(const char *cgroups, char (*paths)[OOM_PATH_MAX], size_t max)
{
    size_t n = 0;
    for (const char *line = cgroups; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *list = line + strcspn(line, ":\n");
        if (*list != ':' || list[1 + strcspn(list + 1, ":\n")] != ':')
            continue;
        list++;
        const char *group = list + strcspn(list, ":") + 1;
        size_t len = strcspn(group, "\n");
        if (len == 1)
            len = 0; /* "/" */
        if (*list == ':') {
            n = add(paths, n, max, "/sys/fs/cgroup", group, len, "memory.events");
            n = add(paths, n, max, "/sys/fs/cgroup", "", 0, "memory.events");
        } else if (is_word_of(list, (size_t)(group - list), "memory")) {
            n = add(paths, n, max, "/sys/fs/cgroup/memory", group, len, "memory.oom_control");
            n = add(paths, n, max, "/sys/fs/cgroup/memory", "", 0, "memory.oom_control");
        }
    }
    return n;
}

/* --- looking ----------------------------------------------------------------------------- */

static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static int64_t count_in(const char *path)
{
    char text[FILE_MAX];
    return read_text(path, text, sizeof(text)) ? oom_count(text) : -1;
}

void oom_watch_init(struct oom_watch *w, int64_t now_ms)
{
    char text[FILE_MAX], paths[FILES][OOM_PATH_MAX];
    size_t n = 0;

    *w = (struct oom_watch){.sampled_at = now_ms};
    if (read_text("/proc/self/cgroup", text, sizeof(text)))
        n = oom_files(text, paths, FILES - 1);
    snprintf(paths[n++], OOM_PATH_MAX, "%s", HOST_FILE);
    for (size_t i = 0; i < n; i++) {
        w->known = w->sampled = count_in(paths[i]);
        if (w->known < 0)
            continue;
        memcpy(w->path, paths[i], sizeof(w->path));
        return;
    }
}

void oom_watch_tick(struct oom_watch *w, int64_t now_ms)
{
    if (!*w->path || now_ms - w->sampled_at < SAMPLE_MS)
        return;
    if (w->known < w->sampled)
        w->known = w->sampled;
    w->sampled = count_in(w->path);
    w->sampled_at = now_ms;
}

bool oom_watch_claim(struct oom_watch *w)
{
    if (!*w->path || count_in(w->path) <= w->known)
        return false;
    w->known++;
    return true;
}
