/* confine: runs a program under the system call filter of a systemd unit, where no systemd runs.
 *     confine SYSCALLS PROGRAM ARGUMENT...
 * SYSCALLS is a file with the names that SystemCallFilter= comes down to. What systemd answers with EPERM
 * kills here, so that nothing is missed that a program would put up with. Of the other settings these are
 * filters too: MemoryDenyWriteExecute=, RestrictNamespaces=, LockPersonality=, and
 * RestrictAddressFamilies= for internet and Unix sockets (refused as systemd does: libraries ask). */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NAMESPACES = 0x7e020080 }; /* CLONE_NEW*: what clone() may not be asked for */

static scmp_filter_ctx filter;

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "confine: %s: %s\n", what, strerror(-rc));
    exit(EXIT_FAILURE);
}

static void allow_if(const char *name, struct scmp_arg_cmp cmp)
{
    must(
        seccomp_rule_add(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(name), 1, cmp), name);
}

/* Allowed for some arguments only. False: name is none of these. */
static int allow_in_part(const char *name)
{
    if (strcmp(name, "socket") == 0) {
        allow_if(name, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
        allow_if(name, SCMP_A0(SCMP_CMP_EQ, AF_INET));
        allow_if(name, SCMP_A0(SCMP_CMP_EQ, AF_INET6));
        must(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                 SCMP_A0(SCMP_CMP_EQ, AF_NETLINK)),
            name);
        return 1;
    }
    if (strcmp(name, "mmap") == 0) {
        allow_if(name, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE, 0));
        allow_if(name, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        return 1;
    }
    if (strcmp(name, "mprotect") == 0 || strcmp(name, "pkey_mprotect") == 0) {
        allow_if(name, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        return 1;
    }
    if (strcmp(name, "clone") == 0) {
        allow_if(name, SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACES, 0));
        return 1;
    }
    if (strcmp(name, "clone3") == 0) { /* its flags are in memory: libraries fall back to clone */
        must(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0), name);
        return 1;
    }
    return strcmp(name, "unshare") == 0 || strcmp(name, "setns") == 0 ||
           strcmp(name, "personality") == 0;
}

static void allow(const char *name)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number < 0 || allow_in_part(name)) /* below 0: of other machines */
        return;
    must(seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0), name);
}

int main(int argc, char **argv)
{
    char name[64];
    FILE *names = argc > 2 ? fopen(argv[1], "re") : NULL;

    if (!names) {
        fprintf(stderr, "usage: confine SYSCALLS PROGRAM ARGUMENT...\n");
        return EXIT_FAILURE;
    }
    filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return EXIT_FAILURE;
    while (fscanf(names, "%63s", name) == 1)
        allow(name);
    fclose(names);
    must(seccomp_load(filter), "the filter cannot be loaded");
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return EXIT_FAILURE;
}
