#include "nodedot/config/value.h"

#include "nodedot/base/base64.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PIN_PREFIX "sha256/"

/* A line of `nodedot check` stays below this, so that it can be read back by an inih with its usual limit of 200. */
#define PRINT_WIDTH 120

static const char blanks[] = " \t\r\n\v\f";

char *value_trim(char *text)
{
    char *end;

    text += strspn(text, blanks);
    end = text + strlen(text);
    while (end > text && strchr(blanks, end[-1]) != NULL)
        end--;
    *end = '\0';
    return text;
}

/* Always false, to be returned. */
static bool __attribute__((format(printf, 3, 4)))
refuse(const struct option_def *option, char *why, const char *format, ...)
{
    char expected[VALUE_WHY];
    size_t used;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, VALUE_WHY, format, arguments);
    va_end(arguments);
    used = strlen(why);
    snprintf(why + used, VALUE_WHY - used, ", expected %s", value_expected(option, expected));
    return false;
}

/* --- numbers --- */

static bool parse_digits(const char *text, uint64_t *out, const char **rest)
{
    uint64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');

        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    *rest = at;
    return at != text;
}

static unsigned suffix_shift(char suffix)
{
    return suffix == 'K' ? 10 : suffix == 'M' ? 20 : suffix == 'G' ? 30 : 0;
}

static bool parse_number(const struct option_def *option, const char *text, uint64_t *out)
{
    const char *rest;

    if (!parse_digits(text, out, &rest))
        return false;
    if (option->type == OPTION_BYTES && suffix_shift(*rest) != 0) {
        if (*out > UINT64_MAX >> suffix_shift(*rest))
            return false;
        *out <<= suffix_shift(*rest);
        rest++;
    }
    return *rest == '\0' && *out >= option->min && *out <= option->max;
}

static void format_number(const struct option_def *option, uint64_t value, char *out)
{
    static const char suffixes[] = "GMK";

    for (const char *s = suffixes; option->type == OPTION_BYTES && value != 0 && *s != '\0'; s++) {
        if (value % (1ULL << suffix_shift(*s)) == 0) {
            snprintf(out, VALUE_WHY, "%" PRIu64 "%c", value >> suffix_shift(*s), *s);
            return;
        }
    }
    snprintf(out, VALUE_WHY, "%" PRIu64, value);
}

/* Members are unsigned integers of one, two, four or eight octets, or an enum. */
static void store_number(const struct option_def *option, void *object, uint64_t value)
{
    void *member = (char *)object + option->offset;

    switch (option->size) {
    case sizeof(uint8_t):
        *(uint8_t *)member = (uint8_t)value;
        break;
    case sizeof(uint16_t):
        *(uint16_t *)member = (uint16_t)value;
        break;
    case sizeof(uint32_t):
        *(uint32_t *)member = (uint32_t)value;
        break;
    default:
        *(uint64_t *)member = value;
        break;
    }
}

static uint64_t load_number(const struct option_def *option, const void *object)
{
    const void *member = (const char *)object + option->offset;

    switch (option->size) {
    case sizeof(uint8_t):
        return *(const uint8_t *)member;
    case sizeof(uint16_t):
        return *(const uint16_t *)member;
    case sizeof(uint32_t):
        return *(const uint32_t *)member;
    default:
        return *(const uint64_t *)member;
    }
}

/* Four workers are enough for the pods of a node; more would only multiply the upstream connections. */
#define WORKERS_AUTO_MAX 4

static uint64_t workers_auto(void)
{
    cpu_set_t cpus;
    int count = 1;

    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
        count = CPU_COUNT(&cpus);
    return count > WORKERS_AUTO_MAX ? WORKERS_AUTO_MAX : (uint64_t)count;
}

/* --- words --- */

/* Copies the word with this index in "a|b|c" to out; false: there is none. */
static bool choice_word(const char *choices, uint64_t index, char *out, size_t size)
{
    while (index > 0 && choices != NULL) {
        choices = strchr(choices, '|');
        choices = choices != NULL ? choices + 1 : NULL;
        index--;
    }
    if (choices == NULL)
        return false;
    snprintf(out, size, "%.*s", (int)strcspn(choices, "|"), choices);
    return true;
}

static bool parse_choice(const struct option_def *option, const char *text, uint64_t *out)
{
    char word[VALUE_WHY];

    for (*out = 0; choice_word(option->choices, *out, word, sizeof(word)); ++*out)
        if (strcmp(word, text) == 0)
            return true;
    return false;
}

static bool parse_upstream(const struct option_def *option, const char *text, const struct config *config,
                           uint64_t *index, char *why)
{
    size_t used;

    for (*index = 0; *index < config->upstream_count; ++*index)
        if (strcmp(config->upstreams[*index].name, text) == 0)
            return true;
    refuse(option, why, "\"%.80s\" is no upstream", text);
    used = strlen(why);
    for (size_t i = 0; i < config->upstream_count && used < VALUE_WHY - CONFIG_NAME - 4; i++) {
        snprintf(why + used, VALUE_WHY - used, "%s%s", i == 0 ? ": " : ", ", config->upstreams[i].name);
        used = strlen(why);
    }
    return false;
}

/* SNI contains names of letters, digits and hyphens (RFC 6066 section 3), never an address; underscores occur in
 * practice. */
static bool is_host_name(const char *text)
{
    struct name name;
    struct endpoint address;
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    return text[strspn(text, allowed)] == '\0' && !endpoint_parse(text, 1, &address) && strcmp(text, ".") != 0 &&
           name_from_text(text, &name);
}

/* A semicolon could begin a comment when the path is printed and read back. */
static bool is_path(const char *text, size_t size)
{
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || *c == ';')
            return false;
    return strlen(text) < size;
}

/* The kernel allows more characters. These are the common ones, and none of them needs quoting in a file or a log line. */
static bool is_interface(const char *text, size_t size)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    return text[strspn(text, allowed)] == '\0' && strlen(text) < size && strcmp(text, ".") != 0 &&
           strcmp(text, "..") != 0;
}

static bool is_text(const struct option_def *option, const char *text)
{
    switch (option->type) {
    case OPTION_PATH:
        return is_path(text, option->size);
    case OPTION_INTERFACE:
        return is_interface(text, option->size);
    default:
        return strlen(text) < option->size && is_host_name(text);
    }
}

static bool store_text(const struct option_def *option, const char *text, void *object, char *why)
{
    char *member = (char *)object + option->offset;
    size_t length = strlen(text);

    if (!is_text(option, text))
        return refuse(option, why, "\"%.80s\" cannot be used", text);
    if (option->type == OPTION_HOST_NAME && text[length - 1] == '.')
        length--; /* SNI is written without the final dot */
    memset(member, 0, option->size);
    memcpy(member, text, length);
    return true;
}

/* --- lists --- */

bool value_parse_pin(const char *text, struct pin *out)
{
    size_t prefix = strlen(PIN_PREFIX);

    return strncmp(text, PIN_PREFIX, prefix) == 0 &&
           base64_decode(text + prefix, strlen(text + prefix), out->sha256, sizeof(out->sha256));
}

bool value_add_pin(struct upstream_config *upstream, const struct pin *pin)
{
    for (size_t i = 0; i < upstream->pin_count; i++)
        if (memcmp(&upstream->pins[i], pin, sizeof(*pin)) == 0)
            return true;
    if (upstream->pin_count == CONFIG_PINS)
        return false;
    upstream->pins[upstream->pin_count++] = *pin;
    return true;
}

/* An address that reads with two default ports and has the same port both times names one of its own. */
static bool parse_address_without_port(const char *text, struct endpoint *out)
{
    struct endpoint other;

    if (!endpoint_parse(text, 1, out) || !endpoint_parse(text, 2, &other) ||
        endpoint_port(out) == endpoint_port(&other))
        return false;
    endpoint_set_port(out, 0);
    return true;
}

static bool parse_entry(const struct option_def *option, const char *text, const struct value_context *context,
                        void *entry)
{
    switch (option->type) {
    case OPTION_ENDPOINTS:
        return endpoint_parse(text, context->port, entry);
    case OPTION_ADDRESSES:
        return parse_address_without_port(text, entry);
    case OPTION_NETWORKS:
        return network_parse(text, entry);
    default:
        return value_parse_pin(text, entry);
    }
}

/* A repeated address is a mistake; repeated entries of other lists do no harm. */
static bool is_repeated(const struct option_def *option, const char *entries, size_t count)
{
    if (option->type != OPTION_ENDPOINTS && option->type != OPTION_ADDRESSES)
        return false;
    for (size_t i = 0; i < count; i++)
        if (endpoint_equal((const struct endpoint *)(const void *)(entries + i * option->size),
                           (const struct endpoint *)(const void *)(entries + count * option->size)))
            return true;
    return false;
}

static bool store_entry(const struct option_def *option, const char *text, const struct value_context *context,
                        void *object, char *why)
{
    char *entries = (char *)object + option->offset;
    size_t *count = (size_t *)(void *)((char *)object + option->count_offset);
    struct pin pin;

    if (*text == '\0')
        return refuse(option, why, "an entry of the list is empty");
    if (option->type == OPTION_PINS) {
        if (!value_parse_pin(text, &pin))
            return refuse(option, why, "\"%.80s\" is no pin", text);
        if (!value_add_pin(object, &pin))
            return refuse(option, why, "more than %zu entries", option->capacity);
        return true;
    }
    if (*count == option->capacity)
        return refuse(option, why, "more than %zu entries", option->capacity);
    if (!parse_entry(option, text, context, entries + *count * option->size))
        return refuse(option, why, "\"%.80s\" cannot be used", text);
    if (is_repeated(option, entries, *count))
        return refuse(option, why, "\"%.80s\" is there twice", text);
    ++*count;
    return true;
}

static bool store_list(const struct option_def *option, const char *text, const struct value_context *context,
                       void *object, char *why)
{
    char *copy = strdup(text);
    char *rest = copy;
    char *item;
    bool good = copy != NULL;

    if (copy == NULL)
        refuse(option, why, "no memory");
    while (good && (item = strsep(&rest, ",")) != NULL)
        good = store_entry(option, value_trim(item), context, object, why);
    free(copy);
    return good;
}

bool value_parse(const struct option_def *option, const char *text, const struct value_context *context, void *object,
                 char *why)
{
    uint64_t number;

    if (*text == '\0')
        return *option->preset == '\0' || refuse(option, why, "is empty");
    switch (option->type) {
    case OPTION_NUMBER:
    case OPTION_SECONDS:
    case OPTION_MILLISECONDS:
    case OPTION_BYTES:
    case OPTION_PORT:
    case OPTION_WORKERS:
        if (option->type == OPTION_WORKERS && strcmp(text, "auto") == 0)
            number = workers_auto();
        else if (!parse_number(option, text, &number))
            return refuse(option, why, "\"%.80s\" cannot be used", text);
        break;
    case OPTION_CHOICE:
        if (!parse_choice(option, text, &number))
            return refuse(option, why, "\"%.80s\" cannot be used", text);
        break;
    case OPTION_UPSTREAM:
        if (!parse_upstream(option, text, context->config, &number, why))
            return false;
        break;
    case OPTION_HOST_NAME:
    case OPTION_PATH:
    case OPTION_INTERFACE:
        return store_text(option, text, object, why);
    default:
        return store_list(option, text, context, object, why);
    }
    store_number(option, object, number);
    return true;
}

/* --- back to text --- */

static void format_network(const struct network *network, char *out)
{
    char address[INET6_ADDRSTRLEN];

    inet_ntop(network->v6 ? AF_INET6 : AF_INET, network->bytes, address, sizeof(address));
    snprintf(out, VALUE_WHY, "%s/%u", address, network->bits);
}

static void format_entry(const struct option_def *option, const void *entry, char *out)
{
    switch (option->type) {
    case OPTION_ENDPOINTS:
        endpoint_format(entry, out);
        break;
    case OPTION_ADDRESSES:
        endpoint_format_address(entry, out);
        break;
    case OPTION_NETWORKS:
        format_network(entry, out);
        break;
    default:
        strcpy(out, PIN_PREFIX);
        base64_encode(((const struct pin *)entry)->sha256, CONFIG_PIN_OCTETS, out + strlen(PIN_PREFIX));
        break;
    }
}

static void print_list(const struct option_def *option, const void *object, FILE *out)
{
    const char *entries = (const char *)object + option->offset;
    size_t count = *(const size_t *)(const void *)((const char *)object + option->count_offset);
    size_t column = strlen(option->key) + strlen(" = ");
    char text[VALUE_WHY];

    if (option->type == OPTION_PINS)
        count = ((const struct upstream_config *)object)->own_pin_count;
    for (size_t i = 0; i < count; i++) {
        format_entry(option, entries + i * option->size, text);
        if (i > 0 && column + strlen(text) > PRINT_WIDTH) {
            fputs(",\n    ", out);
            column = 4;
        } else if (i > 0) {
            fputs(", ", out);
        }
        fputs(text, out);
        column += strlen(text) + 2;
    }
}

/* "${" in the text was written as "$${". */
static void print_text(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (text[0] == '$' && text[1] == '{')
            fputc('$', out);
        fputc(*text, out);
    }
}

void value_print(const struct option_def *option, const struct config *config, const void *object, FILE *out)
{
    char text[VALUE_WHY] = "";
    uint64_t number;

    switch (option->type) {
    case OPTION_UPSTREAM:
        number = load_number(option, object);
        fputs(number != CONFIG_NO_UPSTREAM ? config->upstreams[number].name : "", out);
        return;
    case OPTION_HOST_NAME:
    case OPTION_PATH:
    case OPTION_INTERFACE:
        print_text((const char *)object + option->offset, out);
        return;
    case OPTION_ENDPOINTS:
    case OPTION_ADDRESSES:
    case OPTION_NETWORKS:
    case OPTION_PINS:
        print_list(option, object, out);
        return;
    default:
        break;
    }
    number = load_number(option, object);
    if (option->type == OPTION_CHOICE)
        choice_word(option->choices, number, text, sizeof(text));
    else if (option->section != SECTION_ZONE || number != CONFIG_UNSET)
        format_number(option, number, text);
    fputs(text, out);
}

static void expected_range(const struct option_def *option, const char *what, char *out)
{
    char min[VALUE_WHY];
    char max[VALUE_WHY];

    format_number(option, option->min, min);
    format_number(option, option->max, max);
    snprintf(out, VALUE_WHY, "%s from %.20s to %.20s", what, min, max);
}

static void expected_choice(const struct option_def *option, char *out)
{
    char word[VALUE_WHY];

    strcpy(out, "one of ");
    for (uint64_t i = 0; choice_word(option->choices, i, word, sizeof(word)); i++) {
        strcat(out, i > 0 ? ", " : "");
        strcat(out, word);
    }
}

const char *value_expected(const struct option_def *option, char *out)
{
    static const char *const fixed[] = {
        [OPTION_UPSTREAM] = "the NAME of an [upstream NAME] section",
        [OPTION_HOST_NAME] = "a DNS name such as dns.example.net",
        [OPTION_PATH] = "a file name of at most 255 octets without \";\" and control characters",
        [OPTION_INTERFACE] = "the name of a network interface, at most 15 letters, digits and \"-_.\"",
        [OPTION_ENDPOINTS] = "addresses such as 192.0.2.1, 192.0.2.1:5353, 2001:db8::1, [2001:db8::1]:5353",
        [OPTION_ADDRESSES] = "addresses without port, such as 192.0.2.1, 2001:db8::1",
        [OPTION_NETWORKS] = "networks such as 192.0.2.0/24, 2001:db8::/32 with zeros behind the prefix",
        [OPTION_PINS] = "sha256/ and 44 characters of base64, as \"nodedot pin\" prints them",
    };
    static const char *const ranged[] = {
        [OPTION_NUMBER] = "a number",
        [OPTION_SECONDS] = "seconds",
        [OPTION_MILLISECONDS] = "milliseconds",
        [OPTION_BYTES] = "bytes, K, M and G being powers of 1024,",
        [OPTION_PORT] = "a port",
        [OPTION_WORKERS] = "auto or a number",
    };

    if (option->type == OPTION_CHOICE)
        expected_choice(option, out);
    else if (option->type <= OPTION_WORKERS)
        expected_range(option, ranged[option->type], out);
    else
        strcpy(out, fixed[option->type]);
    return out;
}
