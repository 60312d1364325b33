/* cgroup: the quota of processor time, as hosts and containers of both versions show it. (Memory:
 * test_doctor.) */
#include "io/cgroup.h"

#include "base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char dir[] = "/tmp/hookline-cgroup-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", dir, name);
    for (char *slash = path + strlen(dir) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
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

TestSuite(cgroup, .init = make_dir, .fini = remove_dir);

#define V1_CPU(root, point)                                                                        \
    "36 31 0:32 " root " " point " rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
#define V2(root, point) "41 31 0:38 " root " " point " rw - cgroup2 cgroup2 rw,nsdelegate\n"
#define OTHERS                                                                                     \
    "23 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"                                              \
    "33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"                            \
    "rubbish\n - cgroup\n - cgroup2 x\n"

/* Of a machine whose files are there already. */
static int64_t millis_of(const char *self, const char *mounts)
{
    write_file("proc/self/cgroup", self);
    write_file("proc/self/mountinfo", mounts);
    return cgroup_cpu_millis(dir);
}

static void write_v1(const char *folder, const char *quota, const char *period)
{
    char *q = mem_printf("%s/cpu.cfs_quota_us", folder);
    char *p = mem_printf("%s/cpu.cfs_period_us", folder);
    write_file(q, quota);
    write_file(p, period);
    free(q);
    free(p);
}

Test(cgroup, version_2_counts_the_least_quota_of_the_group_and_those_above)
{
    write_file("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    write_file("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    const char *mounts = OTHERS V2("/", "/sys/fs/cgroup");
    cr_expect_eq(millis_of("0::/a/b\n", mounts), 1500);
    write_file("sys/fs/cgroup/a/b/cpu.max", "50000 200000\n");
    cr_expect_eq(millis_of("0::/a/b\n", mounts), 250);
    cr_expect_eq(millis_of("0::/a\n", mounts), 1500);
}

Test(cgroup, version_2_in_a_container_is_at_the_root)
{
    write_file("sys/fs/cgroup/cpu.max", "200000 100000\n");
    cr_expect_eq(millis_of("0::/\n", V2("/", "/sys/fs/cgroup")), 2000);
    /* without a name space of its own: the host's path, twice */
    cr_expect_eq(
        millis_of("0::/kubepods/pod1/c1\n", V2("/kubepods/pod1/c1", "/sys/fs/cgroup")), 2000);
    cr_expect_eq(millis_of("0::/kubepods/pod1/c1\n", V2("/", "/sys/fs/cgroup")), 2000);
}

Test(cgroup, version_1_has_a_hierarchy_for_processors_wherever_it_is_mounted)
{
    write_v1("sys/fs/cgroup/cpu,cpuacct/docker/c1", "250000\n", "100000\n");
    write_v1("sys/fs/cgroup/cpu,cpuacct", "-1\n", "100000\n");
    const char *host =
        OTHERS V1_CPU("/", "/sys/fs/cgroup/cpu,cpuacct") V2("/", "/sys/fs/cgroup/unified");
    cr_expect_eq(
        millis_of("4:memory:/\n3:cpuset:/docker/c1\n2:cpu,cpuacct:/docker/c1\n0::/\n", host), 2500);
    cr_expect_eq(millis_of("2:cpu,cpuacct:/\n3:cpuset:/docker/c1\n0::/\n", host), -1);
}

Test(cgroup, version_1_in_a_container_is_seen_below_what_is_mounted)
{
    const char *box = V1_CPU("/docker/c1", "/sys/fs/cgroup/cpu");
    write_v1("sys/fs/cgroup/cpu", "300000\n", "100000\n");
    cr_expect_eq(millis_of("1:cpu,cpuacct:/docker/c1\n", box), 3000);
    write_v1("sys/fs/cgroup/cpu/inner", "100000\n", "100000\n");
    cr_expect_eq(millis_of("1:cpu,cpuacct:/docker/c1/inner\n", box), 1000);
    cr_expect_eq(millis_of("1:cpu,cpuacct:/docker/c11\n", box), 3000, "another group, not seen");
    cr_expect_eq(millis_of("1:cpu,cpuacct:/../c2\n", box), 3000, "outside of our name space");
}

Test(cgroup, what_begins_above_our_name_space_is_not_ours)
{
    write_v1("sys/fs/cgroup/cpu", "100000\n", "100000\n");
    cr_expect_eq(millis_of("1:cpu:/\n", V1_CPU("/../..", "/sys/fs/cgroup/cpu")), -1);
}

Test(cgroup, nothing_there_is_no_quota)
{
    const char *mounts = V2("/", "/sys/fs/cgroup") V1_CPU("/", "/sys/fs/cgroup/cpu");
    cr_expect_eq(millis_of("0::/a\n1:cpu:/a\n", mounts), -1);
    cr_expect_eq(millis_of("rubbish\n::\n", mounts), -1);
    cr_expect_eq(millis_of("0::/a\n", OTHERS), -1);
    cr_expect_eq(cgroup_cpu_millis("/nowhere"), -1);
    static const char *const odd[] = {"", "0 100000", "-5 100000", "100000", "100000 0",
        "100000 -1", "9223372036854775807 1", "none of it"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
        write_file("sys/fs/cgroup/cpu.max", odd[i]);
        cr_expect_eq(millis_of("0::/\n", mounts), -1, "%s", odd[i]);
    }
    write_file("sys/fs/cgroup/cpu.max", "1 1000000");
    cr_expect_eq(millis_of("0::/\n", mounts), 1, "little is not nothing");
}
