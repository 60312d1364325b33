/* audit_receipts: see audit_receipts.h. */
#include "worker/ctl/audit_receipts.h"

#include "base/mem.h"
#include "base/timestamp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files that were read: a journal that is rotated meanwhile is found once more, by another name. */
struct done {
    ino_t *files;
    size_t n;
};

static bool done_before(struct done *d, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return true;
    for (size_t i = 0; i < d->n; i++)
        if (d->files[i] == st.st_ino)
            return true;
    d->files = mem_grow(d->files, (d->n + 1) * sizeof(*d->files));
    d->files[d->n++] = st.st_ino;
    return false;
}

/* "<event id> <time> <way>"; what follows the id is looked at only where rows expire. A repeated
 * delivery's row may be much older than that receipt: its first one is what counts then. */
static bool read_line(char *line, int64_t since_us, struct uuid *id, bool *expired)
{
    int64_t at;
    char *time = strchr(line, ' '), *way = time ? strchr(time + 1, ' ') : NULL;

    if (!way)
        return false;
    *time++ = *way++ = '\0';
    *expired = false;
    if (since_us)
        *expired = strcmp(way, "again") == 0 || (timestamp_parse_iso(time, &at) && at < since_us);
    return uuid_parse(line, id) && *time && *way;
}

/* A last line without an end is one that a producer was writing when it died, or writes now. */
static void read_file(struct audit_receipts *r, FILE *f, int64_t since_us, struct audit_set *set)
{
    char *line = NULL;
    size_t room = 0;
    bool expired;

    for (ssize_t len; (len = getline(&line, &room, f)) > 0 && line[len - 1] == '\n';) {
        struct audit_fact fact = {.flags = AUDIT_RECEIPT};
        line[len - 1] = '\0';
        r->lines++;
        if (!read_line(line, since_us, &fact.id, &expired))
            r->damaged++;
        else if (expired)
            r->expired++;
        else
            audit_see(set, &fact);
    }
    free(line);
}

static enum hl_rc read_one(struct audit_receipts *r, int dir_fd, const char *dir, const char *name,
    struct done *done, int64_t since_us, struct audit_set *set, struct hl_err *err)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return HL_OK;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    if (!f)
        return hl_fail(err, HL_FATAL, "%s/%s cannot be read: %s", dir, name, strerror(errno));
    if (!done_before(done, fd)) {
        r->files++;
        read_file(r, f, since_us, set);
    }
    enum hl_rc rc = HL_OK;
    if (ferror(f))
        rc = hl_fail(err, HL_FATAL, "%s/%s cannot be read: %s", dir, name, strerror(errno));
    fclose(f);
    return rc;
}

static enum hl_rc read_folder(struct audit_receipts *r, const char *dir, struct done *done,
    int64_t since_us, struct audit_set *set, struct hl_err *err)
{
    enum hl_rc rc = HL_OK;
    DIR *d = opendir(dir);
    if (!d)
        return hl_fail(
            err, HL_FATAL, "folder of receipts %s cannot be read: %s", dir, strerror(errno));
    for (struct dirent *e; rc == HL_OK && (e = readdir(d));)
        if (strstr(e->d_name, ".receipts"))
            rc = read_one(r, dirfd(d), dir, e->d_name, done, since_us, set, err);
    closedir(d);
    return rc;
}

enum hl_rc audit_receipts_read(struct audit_receipts *r, const char *dir, int64_t since_us,
    struct audit_set *set, struct hl_err *err)
{
    struct done done = {0};
    enum hl_rc rc = HL_OK;
    size_t before;

    r->given = true;
    do { /* once more after a pass that found something: it may have been rotated away meanwhile */
        before = done.n;
        rc = read_folder(r, dir, &done, since_us, set, err);
    } while (rc == HL_OK && done.n > before);
    free(done.files);
    return rc;
}
