/* nodedot - the DNS resolver of one node.
 *
 * From the command line down to bytes. A layer includes only itself and those below it:
 *
 *  main.c                   commands and their options
 *
 *  node/supervisor.c        keeps one generation of the resolver alive; owns what must outlive it
 *  node/privileges.c        what the supervisor may do
 *  node/generation.c        one resolver process as the supervisor sees it
 *  node/sockets.c           the listening sockets
 *  node/setup.c             what a configuration brings into being
 *  node/losses.c            generations that were lost: pauses, and when to give up
 *  node/retry.c             when a refused reload is tried again
 *  node/addresses.c         the listen addresses on the node
 *  node/rtnetlink.c         interfaces and addresses, asked of the kernel
 *  node/shared.c            the memory of cache and status page
 *  node/probes.c            the liveness and readiness ports
 *  node/watch.c             has a configuration's file changed?
 *  node/status.c            gives the status page to `nodedot status`
 *  node/status_command.c    `nodedot status`: asks for the page and prints it
 *  node/status_socket.c     what both ends of the status socket use
 *  node/status_table.c      the status page for people
 *  node/status_json.c       the status page for programs
 *
 *  resolver/resolver.c      one generation: what runs in a forked process
 *  resolver/sandbox.c       gives up what a resolver does not need
 *  resolver/landlock.c      no files, no other ports
 *  resolver/filter.c        no other system calls
 *  resolver/exporter.c      what the metrics port answers
 *  resolver/ask.c           asks one question the way the daemon does, for a command
 *  resolver/worker.c        one thread: a loop, its sockets, its engine
 *  resolver/query.c         receives queries: admission, parser, cache, local answers, zone
 *  resolver/waiting.c       the queries that wait for an upstream, and which are displaced
 *  resolver/outcome.c       stores the result of a flight in the cache
 *  resolver/answer.c        makes one client's answer
 *  resolver/origin.c        where a zone's answers come from, as a number
 *  resolver/tally.c         which counter belongs to an RCODE and to a QTYPE
 *  resolver/refresh.c       refreshes cached answers before they expire
 *  resolver/hot_names.c     the names that are asked for most
 *  resolver/trace.c         collects what the query log records of a query
 *  resolver/admission.c     may this client ask, and how much?
 *  resolver/fairness.c      which query is displaced when too many wait
 *  resolver/local.c         names that nodedot answers itself and never forwards
 *
 *  listener/udp.c           datagrams in and out, in batches
 *  listener/tcp.c           pipelined queries over TCP
 *  listener/quota.c         limits of connections, in total and for each client
 *  listener/client_answer.c answers to clients that come later
 *
 *  forward/pin.c            prints the pins of a chain
 *  forward/survey.c         checks all addresses once, for a command
 *  forward/inquiry.c        asks addresses one question once, for commands
 *  forward/revalidate.c     checks the identity of every address again, on a timer
 *  forward/handshake.c      connects and shakes hands, for checks without a query
 *  forward/engine.c         what one thread holds to ask questions
 *  forward/flight.c         one pending question: asked until an answer comes or its time is up
 *  forward/inflight.c       the table of pending questions, equal ones joined
 *  forward/group.c          an upstream of the configuration: which address is asked?
 *  forward/fallback.c       does a group's fallback serve?
 *  forward/address.c        one server address: its connections, queue and probes
 *  forward/selection.c      the policies for choosing an address
 *  forward/health.c         failures, pauses, when to probe
 *  forward/hedge.c          when to send a question to a second address
 *  forward/latency.c        how long an address takes
 *  forward/dialect.c        which form of EDNS a server takes
 *  forward/stream.c         the life of one connection, over TLS or bare TCP
 *  forward/reachability.c   what all threads know of an address
 *  forward/tickets.c        TLS sessions to resume
 *  forward/relay.c          asks over another thread's connection
 *  forward/pipeline.c       which answer on a connection belongs to which query
 *  forward/datagram.c       one query in one datagram
 *  forward/exchange.c       one query on the wire, written and its answer judged
 *  forward/socket.c         sockets to upstreams
 *  forward/trusts.c         trust anchors, parsed once for all threads
 *  forward/zone.c           which zone does a name belong to?
 *
 *  proof/identity.c        did the peer prove the configured identity?
 *  proof/path.c            is there a path of signatures to a trusted certificate?
 *  proof/san.c             the names in a certificate
 *  proof/certificate.c     X.509 certificates
 *  proof/pem.c             the certificates of a PEM file
 *  proof/der.c             a cursor over DER
 *
 *  tls/tls.c               TLS; it and ticket_guard.c alone know wolfSSL
 *  tls/ticket_guard.c      takes out session tickets that would end a connection
 *  tls/tls_records.c       whole TLS records in, whole flights out
 *
 *  cache/cache.c            answers, kept until their TTL runs out
 *  cache/ring.c             records and their index in shared memory
 *
 *  observe/http.c           the metrics port
 *  observe/request.c        an HTTP request, read
 *  observe/exposition.c     the status page as Prometheus reads it
 *  observe/busiest.c        the clients that ask most
 *  observe/process.c        CPU, memory and descriptors of a process
 *  observe/metrics.c        counters and states on the status page
 *  observe/histogram.c      durations, in buckets
 *  observe/query_log.c      a line or a dnstap frame for each query
 *  observe/query_ring.c     records from a worker to the writer
 *  observe/query_record.c   one query as the query log shows it
 *  observe/dnstap.c         the same as a dnstap payload
 *  observe/frame_stream.c   frames to a Unix socket
 *  observe/log.c            log lines
 *
 *  config/config.c          the configuration, checked
 *  config/import.c          other resolvers' configuration as ours
 *  config/import_corefile.c the directives of a Corefile
 *  config/corefile.c        reads a Corefile
 *  config/print.c           prints the option table
 *  config/env.c             reads the environment and --set
 *  config/ini.c             reads the INI file
 *  config/settings.c        settings as written, with their place for errors
 *  config/value.c           text to value and back
 *  config/options.c         the table of options
 *
 *  dns/bailiwick.c          which records of an answer belong to the question?
 *  dns/message.c            DNS messages, read and written
 *  dns/text.c               records in presentation format
 *  dns/record.c             records in a message
 *  dns/edns.c               the OPT record
 *  dns/cookie.c             DNS cookies
 *  dns/mnemonic.c           the names of types and RCODEs
 *  dns/name.c               domain names
 *
 *  base/pool.c              objects of a fixed number, without the allocator
 *  base/endpoint.c          addresses, ports and networks
 *  base/file.c              what a file contains, held in memory
 *  base/table.c             rows of text in columns
 *  base/base64.c            base64
 *  base/hash.c              keyed hash
 *  base/random.c            unpredictable numbers
 *  base/capability.c        gives up the rights of root
 *  base/clock.c             monotonic and wall time
 */
#include "nodedot/base/exit.h"
#include "nodedot/config/config.h"
#include "nodedot/config/import.h"
#include "nodedot/forward/pin.h"
#include "nodedot/forward/survey.h"
#include "nodedot/node/privileges.h"
#include "nodedot/node/status_command.h"
#include "nodedot/node/supervisor.h"
#include "nodedot/observe/log.h"
#include "nodedot/resolver/ask.h"
#include "nodedot/tls/tls.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Options of the command line, as bits: a command names those that it takes. */
enum {
    TAKES_FILE = 1 << 0,
    TAKES_SET = 1 << 1,
    TAKES_NAME = 1 << 2,
    TAKES_CERT = 1 << 3,
    TAKES_ONLINE = 1 << 4,
    TAKES_JSON = 1 << 5,
    TAKES_WATCH = 1 << 6,
    TAKES_ALL = 1 << 7
};

/* Words after a command: HOST, or NAME and TYPE. */
#define WORDS_MAX 2

/* Interval of status --watch: no faster than people can read, and at most an hour. */
#define WATCH_S     2
#define WATCH_MAX_S 3600

static const char help[] =
    "nodedot - the DNS resolver of one Kubernetes node\n"
    "\n"
    "    nodedot [run] [-c FILE] [--set SECTION.KEY=VALUE]...   run in the foreground\n"
    "    nodedot check [-c FILE] [--set ...]     validate; print the effective configuration; exit 0 or 2\n"
    "    nodedot check --online [-c FILE] [...]  validate; connect to every upstream address and check its identity;\n"
    "                                            exit 0 if all pass, 1 if one fails (even with pin-mode = report)\n"
    "    nodedot query NAME [TYPE] [-c FILE] [--set ...]   ask one question the way the daemon does; exit 0 for an\n"
    "                                            answer (including NXDOMAIN), 1 for a failure\n"
    "    nodedot pin HOST[:PORT] [--name NAME]   print the pins of the chain that a server presents\n"
    "    nodedot pin --cert FILE                 print the pins of the certificates in a PEM file\n"
    "    nodedot status [-c FILE] [--set ...]    show the state of the running daemon as tables; --json for programs;\n"
    "                                            --all adds all counters; --watch[=SECONDS] repeats it (default: 2)\n"
    "    nodedot import FILE                     print a Corefile, kube-dns ConfigMap or resolv.conf as an INI file,\n"
    "                                            and what it leaves out; exit 0 if that is nothing, else 1\n"
    "    nodedot options                         every option, its type, default and meaning, as an INI file\n"
    "    nodedot --version | --help\n"
    "\n"
    "The default file is " CONFIG_DEFAULT_FILE ". NODEDOT_SECTION_KEY variables override the file, and --set\n"
    "overrides both. DOT_HOST=ADDRESS#NAME alone, without a file, is a complete configuration.\n"
    "Exit status: 0 success, 1 failed while running, 2 usage or configuration error.\n";

/* What the command line said. */
struct command_line {
    struct config_source source;
    const char *name;
    const char *cert;
    const char *words[WORDS_MAX];
    struct status_request status;
    unsigned taken; /* bits of the options that were given */
};

struct command {
    const char *word;
    unsigned takes;
    int words; /* behind it, at most */
    int (*run)(const struct command_line *line);
};

/* Large, and needed until the end. */
static struct config config;

static int fail_usage(const char *what, const char *which)
{
    fprintf(stderr, "nodedot: %s%s; try \"nodedot --help\"\n", what, which);
    return EXIT_USAGE;
}

/* Reports a full disk or a closed pipe as a failure. */
static int finish_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    perror("nodedot: standard output");
    return EXIT_FAILED;
}

static int load(const struct config_source *source)
{
    switch (config_load(source, &config, stderr)) {
    case CONFIG_OK:
        return EXIT_DONE;
    case CONFIG_UNREADABLE:
        return EXIT_FAILED;
    default:
        return EXIT_USAGE;
    }
}

static int run(const struct command_line *line)
{
    log_open();
    int result = privileges_begin();

    if (result < 0) {
        fprintf(stderr, "nodedot: cannot give up privileges: %s\n", strerror(-result));
        return EXIT_FAILED;
    }
    int status = load(&line->source);
    return status == EXIT_DONE ? supervisor_run(&line->source, &config) : status;
}

static bool start_tls(void)
{
    if (tls_global_init())
        return true;
    fprintf(stderr, "nodedot: TLS did not start\n");
    return false;
}

static int check(const struct command_line *line)
{
    int status = load(&line->source);

    if (status != EXIT_DONE)
        return status;
    if ((line->taken & TAKES_ONLINE) != 0)
        return start_tls() ? survey_print(&config, stdout, stderr) : EXIT_FAILED;
    config_print(&config, stdout);
    return EXIT_DONE;
}

static int status(const struct command_line *line)
{
    int result = load(&line->source);

    /* The file may have been broken since the daemon started. Show its status all the same. */
    if (status_print(result == EXIT_DONE ? &config : NULL, &line->status) == 0)
        return EXIT_DONE;
    return result != EXIT_DONE ? result : EXIT_FAILED;
}

static int pin(const struct command_line *line)
{
    if ((line->words[0] != NULL) == (line->cert != NULL))
        return fail_usage("pin takes either HOST[:PORT] or --cert FILE", "");
    if (line->cert != NULL && line->name != NULL)
        return fail_usage("--name goes with HOST[:PORT], not with --cert", "");
    if (line->cert != NULL)
        return pin_print_file(line->cert, stdout, stderr);
    if (!start_tls())
        return EXIT_FAILED;
    return pin_print_host(line->words[0], line->name, stdout, stderr);
}

static int query(const struct command_line *line)
{
    int result;

    if (line->words[0] == NULL)
        return fail_usage("query takes a NAME and optionally a TYPE", "");
    result = load(&line->source);
    if (result != EXIT_DONE)
        return result;
    return start_tls() ? ask_print(&config, line->words[0], line->words[1], stdout, stderr) : EXIT_FAILED;
}

static int options(const struct command_line *line)
{
    (void)line;
    config_print_options(stdout);
    return EXIT_DONE;
}

static int import_file(const struct command_line *line)
{
    if (line->words[0] == NULL)
        return fail_usage("import takes a FILE", "");
    return import_print(line->words[0], stdout, stderr);
}

static const struct command commands[] = {
    {"run", TAKES_FILE | TAKES_SET, 0, run},
    {"check", TAKES_FILE | TAKES_SET | TAKES_ONLINE, 0, check},
    {"query", TAKES_FILE | TAKES_SET, 2, query},
    {"pin", TAKES_NAME | TAKES_CERT, 1, pin},
    {"status", TAKES_FILE | TAKES_SET | TAKES_JSON | TAKES_WATCH | TAKES_ALL, 0, status},
    {"options", 0, 0, options},
    {"import", 0, 1, import_file},
};

static const struct option long_options[] = {
    {"set", required_argument, NULL, 's'},  {"name", required_argument, NULL, 'n'},
    {"cert", required_argument, NULL, 'p'}, {"online", no_argument, NULL, 'o'},
    {"json", no_argument, NULL, 'j'},       {"watch", optional_argument, NULL, 'w'},
    {"all", no_argument, NULL, 'a'},        {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},    {NULL, 0, NULL, 0},
};

static void __attribute__((noreturn)) print_and_exit(const char *text)
{
    fputs(text, stdout);
    exit(finish_output(EXIT_DONE));
}

/* The seconds of --watch=; without a value: WATCH_S. */
static bool take_interval(const char *text, struct status_request *request)
{
    char *end;
    unsigned long seconds = text != NULL ? strtoul(text, &end, 10) : WATCH_S;

    if (text != NULL && (*text < '0' || *text > '9' || *end != '\0' || seconds < 1 || seconds > WATCH_MAX_S)) {
        fail_usage("--watch takes seconds from 1 to 3600, not ", text);
        return false;
    }
    request->watch = true;
    request->interval_s = (unsigned)seconds;
    return true;
}

/* Reads one option; false: usage error, reported. sets has room for one text for each argument. */
static bool take_option(int option, char **argv, struct command_line *line, const char **sets)
{
    switch (option) {
    case 'c':
        line->source.file = optarg;
        line->taken |= TAKES_FILE;
        return true;
    case 's':
        sets[line->source.set_count++] = optarg;
        line->taken |= TAKES_SET;
        return true;
    case 'n':
        line->name = optarg;
        line->taken |= TAKES_NAME;
        return true;
    case 'p':
        line->cert = optarg;
        line->taken |= TAKES_CERT;
        return true;
    case 'o':
        line->taken |= TAKES_ONLINE;
        return true;
    case 'j':
        line->status.json = true;
        line->taken |= TAKES_JSON;
        return true;
    case 'a':
        line->status.all = true;
        line->taken |= TAKES_ALL;
        return true;
    case 'w':
        line->taken |= TAKES_WATCH;
        return take_interval(optarg, &line->status);
    case 'h':
        print_and_exit(help);
    case 'v':
        print_and_exit("nodedot " NODEDOT_VERSION "\n");
    case ':':
        fail_usage("no value after ", argv[optind - 1]);
        return false;
    default:
        fail_usage("no such option: ", argv[optind - 1]);
        return false;
    }
}

static const struct command *find_command(const char *word)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].word, word) == 0)
            return &commands[i];
    return NULL;
}

/* The words after the options: a command and its arguments. NULL: usage error, reported. */
static const struct command *take_words(int count, char **words, struct command_line *line)
{
    const struct command *command = find_command(count > 0 ? words[0] : "run");
    int takes = 1;

    if (command == NULL) {
        fail_usage("no such command: ", words[0]);
        return NULL;
    }
    for (; takes < count && takes <= command->words; takes++)
        line->words[takes - 1] = words[takes];
    if (count > takes) {
        fail_usage("one argument too many: ", words[takes]);
        return NULL;
    }
    if ((line->taken & ~command->takes) != 0) {
        fail_usage("this option cannot be used with the command ", command->word);
        return NULL;
    }
    return command;
}

int main(int argc, char **argv)
{
    const char **sets = calloc((size_t)argc, sizeof(*sets));
    struct command_line line = {.source = {.sets = sets, .environment = environ}};
    const struct command *command;
    int option;
    int result;

    if (sets == NULL) {
        perror("nodedot");
        return EXIT_FAILED;
    }
    opterr = 0;
    do {
        option = getopt_long(argc, argv, ":c:", long_options, NULL);
    } while (option != -1 && take_option(option, argv, &line, sets));
    command = option == -1 ? take_words(argc - optind, argv + optind, &line) : NULL;
    result = command != NULL ? finish_output(command->run(&line)) : EXIT_USAGE;
    free(sets);
    return result;
}
