/*
 * Requests whose memory is aligned to exactly what the storage takes as it is,
 * and to no more. Storage that claims less than it needs damages data there,
 * and nowhere else, so every case has to come by. Cases don't know: of the
 * requests that they start every other one goes by way of such memory, and
 * every other one of these in pieces as short as the storage takes them.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A page and more around each element shows what strays; most elements. */
enum { PAGE = 4096, GUARD = 0x3c, ELEMENTS_MAX = 65, LONGEST = 8 << 20 };

struct fitted {
    struct iovec *iov;          /* the caller's */
    int iovcnt, count;
    unsigned char *memory;
    size_t bytes;
    struct iovec elements[ELEMENTS_MAX];
};

/* Lengths of the elements: one, or short ones with the rest in their middle.
 * Returns how many. */
static int cut(size_t bytes, size_t piece, bool in_pieces, size_t *lengths)
{
    size_t most = (ELEMENTS_MAX - 1) / 2, ends, rest, i;
    int count = 0;

    if (!in_pieces || piece == 0 || bytes < 2 * piece) {
        lengths[0] = bytes;
        return 1;
    }
    ends = bytes / piece / 2 < most ? bytes / piece / 2 : most;
    rest = bytes - 2 * ends * piece;
    for (i = 0; i < ends; i++)
        lengths[count++] = piece;
    if (rest)
        lengths[count++] = rest;
    for (i = 0; i < ends; i++)
        lengths[count++] = piece;
    return count;
}

/* Puts each element at an odd multiple of `memory`, right before the end of a
 * page and right behind its begin by turns. */
static bool lay_out(struct fitted *fitted, const size_t *lengths,
                    size_t memory)
{
    size_t unit = memory < PAGE ? PAGE : 2 * memory, at = unit, into;
    void *all;
    int i;

    for (i = 0; i < fitted->count; i++) {
        into = memory >= PAGE ? memory : i % 2 ? memory : PAGE - memory;
        fitted->elements[i].iov_len = lengths[i];
        fitted->elements[i].iov_base = (void *)(at + into);
        at = (at + into + lengths[i] + PAGE + unit - 1) / unit * unit;
    }
    fitted->bytes = at + unit;
    if (posix_memalign(&all, unit, fitted->bytes))
        return false;
    fitted->memory = memset(all, GUARD, fitted->bytes);
    for (i = 0; i < fitted->count; i++)
        fitted->elements[i].iov_base =
            fitted->memory + (size_t)fitted->elements[i].iov_base;
    return true;
}

/* Between the caller's memory and ours. */
static void copy(const struct fitted *fitted, bool to_ours)
{
    size_t ours = 0, theirs = 0, now;
    const struct iovec *a = fitted->elements, *b = fitted->iov;
    unsigned char *here, *there;

    while (a < fitted->elements + fitted->count &&
           b < fitted->iov + fitted->iovcnt) {
        now = a->iov_len - ours < b->iov_len - theirs ? a->iov_len - ours
                                                      : b->iov_len - theirs;
        here = (unsigned char *)a->iov_base + ours;
        there = (unsigned char *)b->iov_base + theirs;
        memcpy(to_ours ? here : there, to_ours ? there : here, now);
        ours += now;
        theirs += now;
        if (ours == a->iov_len)
            a++, ours = 0;
        if (theirs == b->iov_len)
            b++, theirs = 0;
    }
}

/* Has a byte beside the elements changed? Bytes lie before and behind each. */
static bool strayed(const struct fitted *fitted)
{
    const unsigned char *at = fitted->memory, *end;
    int i;

    for (i = 0; i <= fitted->count; i++) {
        end = i < fitted->count ? fitted->elements[i].iov_base
                                : fitted->memory + fitted->bytes;
        if (*at != GUARD || memcmp(at, at + 1, (size_t)(end - at) - 1) != 0)
            return true;
        if (i < fitted->count)
            at = end + fitted->elements[i].iov_len;
    }
    return false;
}

void fit(struct target *target, struct request *request)
{
    const struct facts *facts = &target->facts;
    size_t lengths[ELEMENTS_MAX], bytes = (size_t)request->bytes;
    unsigned turn = target->fitted_turn++;
    bool in_pieces = turn % 4 == 1 && facts->vectors;
    struct fitted *fitted;

    request->fitted = NULL;
    if (request->operation > OP_WRITE || turn % 2 == 0 || !bytes ||
        !facts->fits_memory || request->bytes > LONGEST)
        return;
    fitted = calloc(1, sizeof *fitted);
    if (!fitted)
        return;
    fitted->iov = request->iov;
    fitted->iovcnt = request->iovcnt;
    fitted->count = cut(bytes, facts->fits_segment, in_pieces, lengths);
    if (!lay_out(fitted, lengths, facts->fits_memory)) {
        free(fitted);
        return;
    }
    copy(fitted, true);
    request->iov = fitted->elements;
    request->iovcnt = fitted->count;
    request->fitted = fitted;
}

void unfit(struct target *target, struct request *request)
{
    struct fitted *fitted = request->fitted;

    if (!fitted)
        return;
    if (strayed(fitted))
        snprintf(target->strayed, sizeof target->strayed, "a %s of %lld "
                 "bytes at %lld changed memory beside the caller's",
                 operation_name(request->operation),
                 (long long)request->bytes, (long long)request->offset);
    if (request->operation == OP_READ)
        copy(fitted, false);
    request->iov = fitted->iov;
    request->iovcnt = fitted->iovcnt;
    request->fitted = NULL;
    free(fitted->memory);
    free(fitted);
}
