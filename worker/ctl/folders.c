/* folders: see folders.h. */
#include "worker/ctl/folders.h"

#include <errno.h>
#include <sys/stat.h>

bool folders_add(struct ctl_args *args, struct folders *f)
{
    if (f->n < MAX_FOLDERS && *args->value) {
        f->dirs[f->n++] = args->value;
        return true;
    }
    args->done =
        ctl_usage_error(args->command, "at most %d folders, each with a name", MAX_FOLDERS);
    return false;
}

void folders_default(struct folders *f, const char *dir)
{
    struct stat st;
    if (!f->n && dir && !(stat(dir, &st) < 0 && errno == ENOENT))
        f->dirs[f->n++] = dir;
}
