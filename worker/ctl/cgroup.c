/* cgroup: see cgroup.h. In a container the path may be the host's, of which nothing is seen here; what
 * is found at the root counts then. */
#include "worker/ctl/cgroup.h"

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

/* The least of the group and all above it. group is cut shorter and shorter. */
static int64_t least_limit(const char *root, char *group, const char *file)
{
    int64_t least = -1;
    for (;;) {
        char *path = mem_printf("%s%s/%s", root, group, file);
        int64_t limit = read_limit(path);
        free(path);
        if (limit >= 0 && (least < 0 || limit < least))
            least = limit;
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* Whether "memory" is one of the words that commas separate. */
static bool has_memory(const char *controllers)
{
    for (const char *p = controllers; *p; p += *p == ',') {
        size_t len = strcspn(p, ",");
        if (len == strlen("memory") && strncmp(p, "memory", len) == 0)
            return true;
        p += len;
    }
    return false;
}

/* A line "number:controllers:/path"; -1 when it is about something else. */
static int64_t limit_of_line(char *line, const char *root)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
        return -1;
    *group++ = '\0';
    controllers++;
    if (!*controllers)
        return least_limit(root, group, "memory.max");
    if (!has_memory(controllers))
        return -1;
    char *hierarchy = mem_printf("%s/memory", root);
    int64_t limit = least_limit(hierarchy, group, "memory.limit_in_bytes");
    free(hierarchy);
    return limit;
}

int64_t cgroup_memory_limit(const char *self, const char *root)
{
    char line[LINE];
    int64_t least = -1;
    FILE *f = fopen(self, "re");
    while (f && fgets(line, sizeof(line), f)) {
        int64_t limit = limit_of_line(line, root);
        if (limit >= 0 && (least < 0 || limit < least))
            least = limit;
    }
    if (f)
        fclose(f);
    return least;
}
