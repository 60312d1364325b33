/* cgroup: see cgroup.h. In a container the path may be the host's, of which nothing is seen here; what
 * is found at the root counts then. */
#include "io/cgroup.h"

#include "base/mem.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 4200 };

#define NO_LIMIT (INT64_C(1) << 60) /* version 1 writes about 2^63 */

/* A file that holds one number; -1 when it is not there, or says "max". */
static int64_t read_limit(const char *path)
{
    char text[32] = "";
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    bool got = fgets(text, sizeof(text), f) != NULL;
    fclose(f);
    char *end;
    int64_t limit = strtoll(text, &end, 10);
    return got && end > text && limit > 0 && limit < NO_LIMIT ? limit : -1;
}

static int64_t lesser(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* The least of the group and all above it, in each folder what read finds. group is cut shorter and shorter. */
static int64_t least_limit(const char *root, char *group, int64_t (*read)(const char *folder))
{
    int64_t least = -1;
    for (;;) {
        char *folder = mem_printf("%s%s", root, group);
        least = lesser(least, read(folder));
        free(folder);
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* Whether it is one of the words that commas separate. */
static bool has_word(const char *words, const char *word)
{
    for (const char *p = words; *p; p += *p == ',') {
        size_t len = strcspn(p, ",");
        if (len == strlen(word) && strncmp(p, word, len) == 0)
            return true;
        p += len;
    }
    return false;
}

/* A line "number:controllers:/path", which is cut into the last two; false when it is none. */
static bool split_line(char *line, char **controllers, char **group)
{
    line[strcspn(line, "\n")] = '\0';
    char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    if (!second)
        return false;
    *second = '\0';
    *controllers = first + 1;
    *group = second + 1;
    return true;
}

/* --- memory ------------------------------------------------------------------------------ */

static int64_t read_in(const char *folder, const char *name, int64_t (*read)(const char *path))
{
    char *path = mem_printf("%s/%s", folder, name);
    int64_t n = read(path);
    free(path);
    return n;
}

static int64_t memory_v2(const char *folder)
{
    return read_in(folder, "memory.max", read_limit);
}

static int64_t memory_v1(const char *folder)
{
    return read_in(folder, "memory.limit_in_bytes", read_limit);
}

/* Of a line of /proc/self/cgroup; -1 when it is about something else. */
static int64_t limit_of_line(char *line, const char *root)
{
    char *controllers, *group;
    if (!split_line(line, &controllers, &group))
        return -1;
    if (!*controllers)
        return least_limit(root, group, memory_v2);
    if (!has_word(controllers, "memory"))
        return -1;
    char *hierarchy = mem_printf("%s/memory", root);
    int64_t limit = least_limit(hierarchy, group, memory_v1);
    free(hierarchy);
    return limit;
}

int64_t cgroup_memory_limit(const char *self, const char *root)
{
    char line[LINE];
    int64_t least = -1;
    FILE *f = fopen(self, "re");
    while (f && fgets(line, sizeof(line), f))
        least = lesser(least, limit_of_line(line, root));
    if (f)
        fclose(f);
    return least;
}

/* --- processor time ------------------------------------------------------------------------ */

static int64_t quota_of(int64_t quota_us, int64_t period_us)
{
    bool sane = quota_us > 0 && quota_us < NO_LIMIT / 1000 && period_us > 0;
    if (!sane)
        return -1;
    int64_t millis = quota_us * 1000 / period_us;
    return millis > 0 ? millis : 1;
}

/* "50000 100000", or "max 100000". */
static int64_t cpu_v2(const char *folder)
{
    char *path = mem_printf("%s/cpu.max", folder);
    FILE *f = fopen(path, "re");
    long long quota = -1, period = -1;
    free(path);
    if (f && fscanf(f, "%lld %lld", &quota, &period) != 2)
        quota = -1;
    if (f)
        fclose(f);
    return quota_of(quota, period);
}

static int64_t cpu_v1(const char *folder)
{
    return quota_of(read_in(folder, "cpu.cfs_quota_us", read_limit),
        read_in(folder, "cpu.cfs_period_us", read_limit));
}

/* A file system of mountinfo(5) in which this process's cpu cgroup may be seen. */
struct mount {
    char *root;  /* the group that its top is */
    char *point; /* where it is mounted */
    bool v2;
};

/* "36 35 0:31 ROOT POINT options optional... - TYPE source SUPEROPTIONS"; false when it is another. Points
 * into the line. */
static bool read_mount(char *line, struct mount *m)
{
    char *save, *fields[5] = {0};
    line[strcspn(line, "\n")] = '\0';
    char *rest = strstr(line, " - ");
    if (!rest)
        return false;
    *rest = '\0';
    char *type = strtok_r(rest + 3, " ", &save), *source = strtok_r(NULL, " ", &save);
    char *super = source ? strtok_r(NULL, " ", &save) : NULL;
    m->v2 = type && strcmp(type, "cgroup2") == 0;
    if (!m->v2 && !(super && strcmp(type, "cgroup") == 0 && has_word(super, "cpu")))
        return false;
    fields[0] = strtok_r(line, " ", &save);
    for (int i = 1; i < 5 && fields[i - 1]; i++)
        fields[i] = strtok_r(NULL, " ", &save);
    m->root = fields[3];
    m->point = fields[4];
    return m->point != NULL;
}

/* The group as it is seen below the mount. In a container without a name space for cgroups both are told as
 * the host has them. A group that is outside of the mount is not seen: the mount's top counts then. */
static const char *below(const struct mount *m, const char *group)
{
    size_t len = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);
    bool inside = strncmp(group, m->root, len) == 0 && (group[len] == '/' || !group[len]);
    return inside && !strstr(group + len, "/..") ? group + len : "";
}

/* The group of the line of /proc/self/cgroup that is about this kind; caller frees; NULL = none. */
static char *own_group(const char *root, bool v2)
{
    char line[LINE], *controllers, *group, *found = NULL;
    char *path = mem_printf("%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    free(path);
    while (f && !found && fgets(line, sizeof(line), f))
        if (split_line(line, &controllers, &group) &&
            (v2 ? !*controllers : has_word(controllers, "cpu")))
            found = mem_strdup(group);
    if (f)
        fclose(f);
    return found;
}

static int64_t quota_in(const char *root, const struct mount *m)
{
    char *group = own_group(root, m->v2);
    if (!group)
        return -1;
    char *top = mem_printf("%s%s", root, m->point), *seen = mem_strdup(below(m, group));
    int64_t millis = least_limit(top, seen, m->v2 ? cpu_v2 : cpu_v1);
    free(seen);
    free(top);
    free(group);
    return millis;
}

int64_t cgroup_cpu_millis(const char *root)
{
    char line[LINE], *path = mem_printf("%s/proc/self/mountinfo", root);
    int64_t least = -1;
    struct mount m;
    FILE *f = fopen(path, "re");
    free(path);
    while (f && fgets(line, sizeof(line), f))
        if (read_mount(line, &m) &&
            strncmp(m.root, "/..", 3) != 0) /* it begins above our name space */
            least = lesser(least, quota_in(root, &m));
    if (f)
        fclose(f);
    return least;
}
