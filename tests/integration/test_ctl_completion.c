/* hooklinectl completion: real shells at a terminal, into which keys are typed. What the completed
 * command line has become is told by a function that stands in for hooklinectl. */
#include "tests/support/harness.h"

#include "base/buf.h"
#include "worker/ctl/ctl.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(ctl_completion, .timeout = 120);

enum { PATIENCE_MS = 20000 };

static struct shell {
    pid_t pid;
    int fd;
    struct buf screen; /* all that it has printed */
} sh;

static bool printed(const char *text)
{
    struct pollfd p = {.fd = sh.fd, .events = POLLIN};
    while (poll(&p, 1, 0) > 0) {
        ssize_t n = read(sh.fd, buf_reserve(&sh.screen, 4096), 4096);
        if (n <= 0)
            break;
        sh.screen.len += (size_t)n;
        sh.screen.data[sh.screen.len] = '\0';
    }
    return strstr(buf_str(&sh.screen), text) != NULL;
}

static void await(const char *text)
{
    int64_t end = harness_now_ms() + PATIENCE_MS;
    while (!printed(text)) {
        if (harness_now_ms() > end)
            cr_assert_fail("'%s' never came:\n%s", text, buf_str(&sh.screen));
        harness_wait_step(end + 1000, text, __FILE__, __LINE__);
    }
}

static void type(const char *keys)
{
    cr_assert_eq(write(sh.fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

/* In a folder with one file: the_file.json. */
static void start_in_folder(const char *const *argv)
{
    const char *file = harness_text("%s/the_file.json", harness_dir());
    FILE *f = fopen(file, "we");
    cr_assert(f && fclose(f) == 0);
    sh.pid = forkpty(&sh.fd, NULL, NULL, &(struct winsize){.ws_row = 50, .ws_col = 200});
    cr_assert_geq(sh.pid, 0);
    if (sh.pid > 0)
        return;
    setenv("TERM", "dumb", 1);
    setenv("PS1", "> ", 1);
    if (chdir(harness_dir()) == 0)
        execvp(argv[0], (char *const *)argv);
    _exit(127);
}

/* $ready is not in what was typed: the answer is what is waited for. */
static void start_shell(const char *name)
{
    char *program = realpath(harness_text("%s/hooklinectl", harness_build()), NULL);
    cr_assert(program);
    bool zsh = strcmp(name, "zsh") == 0;
    if (zsh)
        start_in_folder((const char *const[]){"zsh", "-f", "-i", NULL});
    else
        start_in_folder((const char *const[]){"bash", "--norc", "--noprofile", "-i", NULL});
    if (zsh)
        type("autoload -U compinit; compinit -D -u\n");
    type(harness_text("source <('%s' completion %s); hooklinectl() { echo \"<$*>\"; }; r=rea; echo "
                      "${r}dy\n",
        program, name));
    free(program);
    await("ready");
}

static void end_shell(void)
{
    kill(sh.pid, SIGKILL);
    waitpid(sh.pid, NULL, 0);
    close(sh.fd);
    buf_release(&sh.screen);
}

/* What is typed becomes that command line. */
static void becomes(const char *typed, const char *line)
{
    buf_clear(&sh.screen);
    type(harness_text("hooklinectl %s\n", typed));
    await(harness_text("<%s>", line));
}

/* Everything that both shells do alike. */
static void check_lines(void)
{
    becomes("mig\t", "migrate");
    becomes("send --sou\tfire\t", "send --source firecrawl");
    becomes("send --source=fire\t", "send --source=firecrawl");
    becomes("send --file the_f\t", "send --file the_file.json");
    becomes("--config the_f\tstat\t--js\t", "--config the_file.json status --json");
    becomes("send --url status --tit\tx", "send --url status --title x");
    becomes("completion z\t", "completion zsh");
    becomes("pause ch\t cr\t", "pause change crawl");
    becomes("import the_f\t--d\t", "import the_file.json --dry-run");
    becomes("export --li\tthe_f\t", "export --live the_file.json");
    becomes("--vers\t", "--version");
}

/* Every action of every noun, but for its last letter. */
static void check_actions(void)
{
    for (const struct ctl_command *const *c = ctl_commands; *c; c++) {
        for (const struct ctl_command *const *a = (*c)->actions; a && *a; a++) {
            size_t len = strlen((*a)->name);
            becomes(harness_text("%.*s\t", (int)len - 1, (*a)->name), (*a)->name);
        }
    }
}

/* Two tabs show what there is. */
static void check_choices(void)
{
    buf_clear(&sh.screen);
    type("hooklinectl \t\t");
    await("rejects");
    await("migrate");
    await("status");
    type("\025");
}

Test(ctl_completion, bash_completes)
{
    start_shell("bash");
    check_lines();
    check_actions();
    check_choices();
    end_shell();
}

Test(ctl_completion, zsh_completes)
{
    start_shell("zsh");
    check_lines();
    check_actions();
    check_choices();
    await("sign events"); /* with what it is about */
    end_shell();
}

Test(ctl_completion, a_shell_is_to_be_named)
{
    static const char *const wrong[] = {"fish", "", NULL};
    for (size_t i = 0; i < 3; i++) {
        const char *const argv[] = {
            harness_text("%s/hooklinectl", harness_build()), "completion", wrong[i], NULL};
        struct test_proc *p = test_proc_start(argv, NULL, -1);
        cr_expect_eq(test_proc_wait(p, 10000), 64);
        cr_expect(test_proc_logged(p, "bash or zsh"), "%s", test_proc_log(p));
    }
}

Test(ctl_completion, an_option_that_does_not_exist_suggests_the_one_that_was_meant)
{
    static const struct {
        const char *verb, *option, *said;
    } cases[] = {
        {"send",   "--jsn",       "did you mean '--json'?"    },
        {"send",   "--watchid=x", "did you mean '--watch-id'?"},
        {"send",   "--hlep",      "did you mean '--help'?"    },
        {"status", "--confg",     "did you mean '--config'?"  },
        {"status", "--json=1",    "takes no value"            },
        {"status", "--quetzal",   "'--quetzal' is unknown"    },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *const argv[] = {
            harness_text("%s/hooklinectl", harness_build()), cases[i].verb, cases[i].option, NULL};
        struct test_proc *p = test_proc_start(argv, NULL, -1);
        cr_expect_eq(test_proc_wait(p, 10000), 64);
        cr_expect(test_proc_logged(p, cases[i].said), "%s: %s", cases[i].option, test_proc_log(p));
    }
}
