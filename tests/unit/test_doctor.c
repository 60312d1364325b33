/* What doctor knows without asking anybody: how far a clock is off, how much memory there is. */
#include "io/cgroup.h"
#include "worker/ctl/skew.h"

#include "base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(doctor);

#define GIB (INT64_C(1) << 30)

/* --- clocks ------------------------------------------------------------------------------ */

Test(doctor, skew_is_taken_from_the_shortest_way_and_corrected_by_half_of_it)
{
    const struct clock_look looks[] = {
        {1000000, 1900000, 1800000}, /* a long way: says little */
        {5000000, 7001000, 5002000}, /* 2 ms: two seconds ahead */
        {9000000, 9000000, 9500000},
    };
    struct skew s = skew_of(looks, 3);
    cr_expect_eq(s.ahead, 2000000);
    cr_expect_eq(s.unsure, 1000);
    cr_expect_eq(s.round_trip, 2000);
}

Test(doctor, skew_may_be_behind_and_passes_over_a_look_amid_which_our_clock_was_set)
{
    const struct clock_look looks[] = {
        {5000000, 5000000, 4000000},
        {6000000, 3000050, 6000100}
    };
    struct skew s = skew_of(looks, 2);
    cr_expect_eq(s.ahead, -3000000);
    cr_expect_eq(s.unsure, 50);
}

/* --- memory ------------------------------------------------------------------------------ */

static char dir[] = "/tmp/hookline-doctor-XXXXXX";

static char *in_dir(const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

static void write_file(const char *name, const char *text)
{
    char *path = in_dir(name);
    for (char *p = strchr(path + strlen(dir) + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
    free(path);
}

static void make_dir(void)
{
    cr_assert_not_null(mkdtemp(dir));
}

static void remove_dir(void)
{
    char *command = mem_printf("rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
    free(command);
}

TestSuite(doctor_memory, .init = make_dir, .fini = remove_dir);

static int64_t limit_of(const char *cgroup)
{
    write_file("cgroup", cgroup);
    char *self = in_dir("cgroup"), *root = in_dir("fs");
    int64_t limit = cgroup_memory_limit(self, root);
    free(self);
    free(root);
    return limit;
}

Test(doctor_memory, version_2_counts_the_least_limit_of_the_group_and_those_above)
{
    write_file("fs/a/b/memory.max", "max\n");
    write_file("fs/a/memory.max", "1073741824\n");
    write_file("fs/memory.max", "2147483648\n");
    cr_expect_eq(limit_of("0::/a/b\n"), GIB);
    write_file("fs/a/b/memory.max", "536870912\n");
    cr_expect_eq(limit_of("0::/a/b\n"), GIB / 2);
}

Test(doctor_memory, a_container_that_does_not_see_its_path_finds_its_limit_at_the_root)
{
    write_file("fs/memory.max", "2147483648\n");
    cr_expect_eq(limit_of("0::/system.slice/docker-1234.scope\n"), 2 * GIB);
    cr_expect_eq(limit_of("0::/\n"), 2 * GIB);
}

Test(doctor_memory, version_1_has_a_hierarchy_for_memory_and_an_enormous_number_for_no_limit)
{
    write_file("fs/memory/box/memory.limit_in_bytes", "1073741824\n");
    write_file("fs/memory/memory.limit_in_bytes", "9223372036854771712\n");
    cr_expect_eq(limit_of("12:cpu,cpuacct:/box\n5:memory:/box\n"), GIB);
    cr_expect_eq(limit_of("5:hugetlb,memory:/\n"), -1);
    cr_expect_eq(limit_of("5:cpuset:/box\n"), -1);
}

Test(doctor_memory, nothing_there_is_no_limit)
{
    cr_expect_eq(limit_of("0::/a\n"), -1);
    cr_expect_eq(limit_of("rubbish\n::\n"), -1);
    cr_expect_eq(cgroup_memory_limit("/nowhere/cgroup", "/nowhere"), -1);
}
