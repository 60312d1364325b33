/* hooklinectl completion: what bash and zsh need to complete our command lines, made of the tables of
 * commands and options. Both get the same three functions, which know everything, the one that walks
 * along the words typed so far, and one of their own. */
#include "worker/ctl/commands.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

static ctl_run_fn run;

const struct ctl_command cmd_completion = {
    .name = "completion",
    .summary = "print what a shell needs to complete hooklinectl",
    .words = "bash|zsh",
    .about =
        "Prints a script that makes the shell complete verbs, actions, options and their values.\n"
        "For zsh compinit must have run.\n",
    .examples = "source <(hooklinectl completion bash)\n"
                "hooklinectl completion bash >/etc/bash_completion.d/hooklinectl\n"
                "hooklinectl completion zsh >/usr/local/share/zsh/site-functions/_hooklinectl\n",
    .run = run,
};

/* Options of which not every value makes sense. key 0: of this name, whatever the verb. */
static const struct {
    int key;
    const char *name, *values;
} known[] = {
    {CTL_STATUS, "status",          "queued in_progress completed superseded failed"},
    {0,          "queue",           "change crawl"                                  },
    {0,          "source",          "changedetection firecrawl"                     },
    {0,          "include-retries", "now wait ignore"                               },
};

/* What stands before the verb; the rest of it is common. */
static const struct ctl_option first_options[] = {
    {1,     "print-config", NULL, "show the settings in effect, secrets masked"},
    {2, "version", NULL, "show the version"},
    {0    },
};

/* --- the tables as functions of a shell -------------------------------------------------- */

/* As one word of a shell, whatever is in it. */
static void put_quoted(struct buf *out, const char *text)
{
    buf_putc(out, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            buf_puts(out, "'\\''");
        else
            buf_putc(out, *text);
    }
    buf_putc(out, '\'');
}

/* 'word:what it is' */
static void put_described(struct buf *out, const char *dashes, const char *word, const char *what)
{
    struct buf both = {0};
    buf_printf(&both, "%s%s:%s", dashes, word, what);
    buf_putc(out, ' ');
    put_quoted(out, buf_str(&both));
    buf_release(&both);
}

typedef void put_fn(const struct ctl_command *c, struct buf *out);

static void put_each(const struct ctl_command *const *commands, put_fn *put, struct buf *out)
{
    for (; *commands; commands++) {
        put(*commands, out);
        if ((*commands)->actions)
            put_each((*commands)->actions, put, out);
    }
}

static void put_function(const char *name, const char *subject, put_fn *put, struct buf *out)
{
    buf_printf(out, "%s() {\n    reply=()\n    case \"%s\" in\n", name, subject);
    put(NULL, out);
    put_each(ctl_commands, put, out);
    buf_puts(out, "    *) return 1 ;;\n    esac\n}\n");
}

static void put_commands(const struct ctl_command *const *commands, struct buf *out)
{
    for (; *commands; commands++)
        put_described(out, "", ctl_word(*commands), (*commands)->summary);
}

/* "bash|zsh", "[change] [crawl]": the words themselves; a file's name; anything else only says what
 * belongs there. */
static void put_alternatives(const char *words, struct buf *out)
{
    static const char between[] = "|[] ";
    if (strcmp(words, "FILE") == 0)
        buf_puts(out, " @file");
    for (const char *c = words; *c; c++)
        if (!strchr(between, *c) && !islower((unsigned char)*c))
            return;
    for (words += strspn(words, between); *words; words += strspn(words, between)) {
        int len = (int)strcspn(words, between);
        buf_printf(out, " '%.*s'", len, words);
        words += len;
    }
}

/* What may follow a command; c NULL: the program. */
static void put_words(const struct ctl_command *c, struct buf *out)
{
    buf_puts(out, "    ");
    put_quoted(out, c ? c->name : "");
    buf_puts(out, ") reply=(");
    if (!c || c->actions)
        put_commands(c ? c->actions : ctl_commands, out);
    else if (c->words)
        put_alternatives(c->words, out);
    buf_puts(out, " ) ;;\n");
}

static void put_option_list(const struct ctl_option *options, struct buf *out)
{
    for (const struct ctl_option *o = options; o && o->key; o++)
        put_described(out, "--", o->name, o->help);
}

static void put_options(const struct ctl_command *c, struct buf *out)
{
    buf_puts(out, "    ");
    put_quoted(out, c ? c->name : "");
    buf_puts(out, ") reply=(");
    if (!c || !c->actions)
        put_option_list(c ? c->options : first_options, out);
    put_option_list(ctl_common_options, out);
    buf_puts(out, " ) ;;\n");
}

static const char *values_of(const struct ctl_option *o)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(o->name, known[i].name) == 0 && (!known[i].key || known[i].key == o->key))
            return known[i].values;
    return strcmp(o->value, "FILE") == 0 ? "@file" : strcmp(o->value, "DIR") == 0 ? "@folder" : "";
}

/* Options that need a value; others are not in there. */
static void put_value_list(const struct ctl_command *c, const struct ctl_option *o, struct buf *out)
{
    for (; o && o->key; o++) {
        if (!o->value || o->value[0] == '[')
            continue;
        buf_printf(out, "    '%s --%s') reply=(%s) ;;\n", c ? c->name : "", o->name, values_of(o));
    }
}

static void put_values(const struct ctl_command *c, struct buf *out)
{
    put_value_list(c, c ? c->options : first_options, out);
    put_value_list(c, ctl_common_options, out);
}

/* --- the rest of the scripts ------------------------------------------------------------- */

static const char walk[] =
    "# Words before the cursor: which command they name, which option waits for its value.\n"
    "_hooklinectl_walk() {\n"
    "    local word next\n"
    "    named='' pending=''\n"
    "    for word in \"$@\"; do\n"
    "        next=\"$named${named:+ }$word\"\n"
    "        if [ \"$word\" = '=' ]; then\n"
    "            : # bash cuts --name=value into three\n"
    "        elif [ -n \"$pending\" ]; then\n"
    "            pending=\n"
    "        else\n"
    "            case \"$word\" in\n"
    "            -*=*) ;;\n"
    "            -*) if _hooklinectl_value \"$named $word\"; then pending=$word; fi ;;\n"
    "            *) if _hooklinectl_words \"$next\"; then named=$next; fi ;;\n"
    "            esac\n"
    "        fi\n"
    "    done\n"
    "    reply=()\n"
    "}\n";

static const char bash[] =
    "_hooklinectl() {\n"
    "    local named pending cur=${COMP_WORDS[COMP_CWORD]} reply\n"
    "    _hooklinectl_walk \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"\n"
    "    if [ \"$cur\" = '=' ]; then cur=; fi\n"
    "    if [ -n \"$pending\" ]; then\n"
    "        _hooklinectl_value \"$named $pending\"\n"
    "    else\n"
    "        case \"$cur\" in -*) ;; *) _hooklinectl_words \"$named\" ;; esac\n"
    "        [ ${#reply[@]} -gt 0 ] || _hooklinectl_options \"$named\"\n"
    "    fi\n"
    "    case \"${reply[0]-}\" in\n"
    "    @file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
    "    @folder) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\") ;;\n"
    "    *) mapfile -t COMPREPLY < <(compgen -W \"${reply[*]%%:*}\" -- \"$cur\") ;;\n"
    "    esac\n"
    "}\n"
    "complete -F _hooklinectl hooklinectl\n";

static const char zsh[] = "_hooklinectl() {\n"
                          "    local named pending\n"
                          "    local -a reply\n"
                          "    _hooklinectl_walk \"${(@)words[2,CURRENT-1]}\"\n"
                          "    if [[ -z $pending && $words[CURRENT] == --*=* ]]; then\n"
                          "        pending=${words[CURRENT]%%=*}\n"
                          "        compset -P '*='\n"
                          "    fi\n"
                          "    if [[ -n $pending ]]; then\n"
                          "        _hooklinectl_value \"$named $pending\"\n"
                          "        case \"${reply[1]-}\" in\n"
                          "        @file) _files ;;\n"
                          "        @folder) _files -/ ;;\n"
                          "        *) compadd -a reply ;;\n"
                          "        esac\n"
                          "        return\n"
                          "    fi\n"
                          "    [[ $words[CURRENT] == -* ]] || _hooklinectl_words \"$named\"\n"
                          "    if [[ ${reply[1]-} == @file ]]; then\n"
                          "        _files\n"
                          "    elif (( $#reply )); then\n"
                          "        _describe word reply\n"
                          "    else\n"
                          "        _hooklinectl_options \"$named\"\n"
                          "        _describe -o option reply\n"
                          "    fi\n"
                          "}\n"
                          "if [ \"${funcstack[1]-}\" = _hooklinectl ]; then\n"
                          "    _hooklinectl \"$@\"\n"
                          "else\n"
                          "    compdef _hooklinectl hooklinectl\n"
                          "fi\n";

static const struct {
    const char *shell, *first, *end;
} scripts[] = {
    {"bash", "# Completion of hooklinectl for bash.\n", bash},
    {"zsh",  "#compdef hooklinectl\n",                  zsh },
};

static void print_script(const char *first, const char *end)
{
    struct buf out = {0};
    buf_puts(&out, first);
    buf_puts(&out, "# What may follow $1, a command; false: it is none.\n");
    put_function("_hooklinectl_words", "$1", put_words, &out);
    buf_puts(&out, "# The options of $1.\n");
    put_function("_hooklinectl_options", "$1", put_options, &out);
    buf_puts(&out, "# The values of $1, a command and its option; false: it needs none.\n");
    put_function("_hooklinectl_value", "$1", put_values, &out);
    buf_puts(&out, walk);
    buf_puts(&out, end);
    fputs(buf_str(&out), stdout);
    buf_release(&out);
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_completion, ctl, argc, argv);
    if (ctl_parse(&args) >= 0)
        return args.done;
    const char *shell = args.rest == argc - 1 ? argv[args.rest] : "";
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        if (strcmp(shell, scripts[i].shell) == 0) {
            print_script(scripts[i].first, scripts[i].end);
            return CTL_OK;
        }
    }
    return ctl_usage_error(&cmd_completion, "name one shell: bash or zsh");
}
