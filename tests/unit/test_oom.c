/* oom: the counters as kernels write them, and which of them is asked. */
#include "io/oom.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(oom, the_count_is_found_in_each_kind_of_file)
{
    static const struct {
        const char *text;
        int64_t count;
    } files[] = {
        {"low 0\nhigh 7\nmax 3\noom 2\noom_kill 4\noom_group_kill 9\n", 4           }, /* version 2 */
        {"oom_kill_disable 0\nunder_oom 1\noom_kill 5\n",               5           }, /* version 1 */
        {"pgfault 12\noom_kill 123456789012\nnuma_hit 1\n",             123456789012}, /* vmstat */
        {"oom_kill 6",                                                  6           },
        {"oom_kill_disable 1\nunder_oom 0\n",                           -1          }, /* kernels before 4.13 */
        {"not_oom_kill 3\n",                                            -1          },
        {"",                                                            -1          },
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        cr_expect_eq(oom_count(files[i].text), files[i].count, "%s", files[i].text);
}

Test(oom, the_files_asked_are_those_of_this_processs_own_group_first)
{
    static const struct {
        const char *cgroups;
        const char *paths[3];
    } cases[] = {
        {"0::/system.slice/hookline.service\n",
         {"/sys/fs/cgroup/system.slice/hookline.service/memory.events",
                "/sys/fs/cgroup/memory.events"}                                                                                          },
        {"0::/\n",                                                       {"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory.events"}},
        {"9:cpu,memory:/docker/ab\n1:memoryless:/x\n2:name=systemd:/\n",
         {"/sys/fs/cgroup/memory/docker/ab/memory.oom_control",
                "/sys/fs/cgroup/memory/memory.oom_control"}                                                                              },
        {"nonsense\n:\n1:cpu\n",                                         {NULL}                                                          },
        {"",                                                             {NULL}                                                          },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char paths[4][OOM_PATH_MAX];
        size_t n = oom_files(cases[i].cgroups, paths, 4), k = 0;
        for (; cases[i].paths[k]; k++)
            cr_expect(k < n && strcmp(paths[k], cases[i].paths[k]) == 0, "%s: %s", cases[i].cgroups,
                k < n ? paths[k] : "-");
        cr_expect_eq(n, k, "%s", cases[i].cgroups);
    }
}

Test(oom, a_group_with_too_long_a_name_is_left_out)
{
    char cgroups[OOM_PATH_MAX + 32], paths[2][OOM_PATH_MAX];
    snprintf(cgroups, sizeof(cgroups), "0::/%0*d\n", OOM_PATH_MAX, 0);
    cr_expect_eq(oom_files(cgroups, paths, 2), 1);
    cr_expect_str_eq(paths[0], "/sys/fs/cgroup/memory.events");
}

static void set_count(struct oom_watch *w, int n)
{
    FILE *f = fopen(w->path, "w");
    cr_assert_not_null(f);
    fprintf(f, "oom 0\noom_kill %d\n", n);
    fclose(f);
}

Test(oom, each_kill_is_claimed_once_and_an_old_one_not_at_all)
{
    struct oom_watch w = {.path = "/tmp/hookline-oom-XXXXXX", .known = 3, .sampled = 3};
    int fd = mkstemp(w.path);
    cr_assert_geq(fd, 0);
    close(fd);
    set_count(&w, 3);
    cr_expect(!oom_watch_claim(&w));
    set_count(&w, 5);
    cr_expect(oom_watch_claim(&w));
    cr_expect(oom_watch_claim(&w));
    cr_expect(!oom_watch_claim(&w));
    set_count(&w, 6);
    oom_watch_tick(&w, 10000);
    oom_watch_tick(&w, 19000);
    cr_expect(oom_watch_claim(&w), "the victim may take its time to die");
    set_count(&w, 7);
    oom_watch_tick(&w, 20000);
    oom_watch_tick(&w, 30000);
    cr_expect(!oom_watch_claim(&w), "that was somebody else");
    unlink(w.path);
    cr_expect(!oom_watch_claim(&w));
}

Test(oom, without_a_counter_nothing_is_claimed)
{
    struct oom_watch w = {.known = -1};
    oom_watch_tick(&w, 60000);
    cr_expect(!oom_watch_claim(&w));
}
