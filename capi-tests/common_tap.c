/* TAP output: see tap.h.  One lock orders the lines of all threads. */
#include "tap.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Guards the values below and keeps a line in one piece. */
static pthread_mutex_t tap_lock = PTHREAD_MUTEX_INITIALIZER;
static int tap_count;
static int tap_failed;
static char tap_sentence[256] = "(nothing yet)";
/* The last diag() since the last result. */
static char tap_remark[512];
/* Atomic. */
static unsigned long steps;

void tap_get_on(void)
{
    __atomic_add_fetch(&steps, 1, __ATOMIC_RELAXED);
}

unsigned long tap_steps(void)
{
    return __atomic_load_n(&steps, __ATOMIC_RELAXED);
}

static void result(int good, const char *reason, const char *sentence,
                   va_list words)
{
    vsnprintf(tap_sentence, sizeof(tap_sentence), sentence, words);
    tap_get_on();
    tap_count++;
    tap_failed += !good;
    printf("%sok %d - %s", good ? "" : "not ", tap_count, tap_sentence);
    if (reason)
        printf(" # SKIP %s", reason);
    printf("\n");
    fflush(stdout);
    /* prove(1) hides what goes to stdout. */
    if (!good)
        fprintf(stderr, "# failed: %d - %s%s%s\n", tap_count, tap_sentence,
                *tap_remark ? "; before that: " : "", tap_remark);
    *tap_remark = 0;
}

int ok(int good, const char *sentence, ...)
{
    va_list words;

    pthread_mutex_lock(&tap_lock);
    va_start(words, sentence);
    result(good, NULL, sentence, words);
    va_end(words);
    pthread_mutex_unlock(&tap_lock);
    return good;
}

int is_int(int64_t got, int64_t want, const char *sentence, ...)
{
    va_list words;

    pthread_mutex_lock(&tap_lock);
    va_start(words, sentence);
    result(got == want, NULL, sentence, words);
    va_end(words);
    if (got != want) {
        fprintf(stderr, "#   got %lld, want %lld\n", (long long)got,
                (long long)want);
    }
    pthread_mutex_unlock(&tap_lock);
    return got == want;
}

void skip(const char *reason, const char *sentence, ...)
{
    va_list words;

    pthread_mutex_lock(&tap_lock);
    va_start(words, sentence);
    result(1, reason, sentence, words);
    va_end(words);
    pthread_mutex_unlock(&tap_lock);
}

void diag(const char *remark, ...)
{
    va_list words;

    tap_get_on();
    pthread_mutex_lock(&tap_lock);
    va_start(words, remark);
    vsnprintf(tap_remark, sizeof(tap_remark), remark, words);
    printf("# %s\n", tap_remark);
    fflush(stdout);
    va_end(words);
    pthread_mutex_unlock(&tap_lock);
}

void skip_all(const char *reason, ...)
{
    va_list words;

    va_start(words, reason);
    printf("1..0 # SKIP ");
    vprintf(reason, words);
    printf("\n");
    va_end(words);
    exit(0);
}

void bail(const char *reason, ...)
{
    va_list words;

    va_start(words, reason);
    printf("Bail out! ");
    vprintf(reason, words);
    printf("\n");
    va_end(words);
    exit(255);
}

int done_testing(void)
{
    printf("1..%d\n", tap_count);
    if (tap_failed)
        printf("# %d of %d failed\n", tap_failed, tap_count);
    fflush(stdout);
    return tap_failed != 0;
}

int tap_failures(void)
{
    return tap_failed;
}

const char *tap_last(void)
{
    return tap_sentence;
}
