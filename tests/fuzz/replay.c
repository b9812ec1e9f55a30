/* Plays the seeds of a fuzz target once, without a fuzzer: what once broke something is a seed, and never breaks it
 * again. The target's name is that of the program, behind "replay_"; it is started in the project's folder. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEED_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *target;

static void play(const char *folder, const char *name)
{
    char path[512];
    FILE *file;
    uint8_t *seed = malloc(SEED_MAX); /* of its own, so that a sanitizer sees a read behind the end */
    size_t size;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    assert_true(file != NULL && seed != NULL);
    size = fread(seed, 1, SEED_MAX, file);
    assert_true(size < SEED_MAX);
    fclose(file);
    seed = realloc(seed, size > 0 ? size : 1);
    assert_non_null(seed);
    LLVMFuzzerTestOneInput(seed, size);
    free(seed);
}

static void every_seed_is_survived(void **state)
{
    char folder[256];
    DIR *directory;
    unsigned count = 0;

    (void)state;
    snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", target);
    directory = opendir(folder);
    assert_non_null(directory);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        play(folder, entry->d_name);
        count++;
    }
    closedir(directory);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    assert_true(count > 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_seed_is_survived)};
    const char *name = strrchr(argv[0], '/');

    (void)argc;
    target = strstr(name != NULL ? name : argv[0], "replay_");
    if (target == NULL)
        return EXIT_FAILURE;
    target += strlen("replay_");
    return cmocka_run_group_tests_name(target, tests, NULL, NULL);
}
