/*
 * drive-acrn OPTIONS DEVICE QUEUES: ACRN's own virtio_block.c and virtio.c,
 * compiled with ACRN's headers, on whichever block_if it is linked with; the
 * rest of the device model is not there. The guest is ../guest. `check` builds
 * it. Prints what was lost; exit status 1 if the device did not answer.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dm.h"
#include "pci_core.h"
#include "virtio.h"
#include "monitor.h"
#include "timer.h"
#include "vmmapi.h"

#include "queue.h"

/* virtio_block.c's, at the end of it. */
extern struct pci_vdev_ops pci_ops_virtio_blk;

static struct guest guest;
static struct pci_vdev device;
bool is_winvm;

/* ---- what they use of the device model -------------------------------- */

void *paddr_guest2host(struct vmctx *ctx, uintptr_t address, size_t bytes)
{
    (void)ctx;
    return address + bytes <= guest.bytes ? guest.memory + address : NULL;
}

int guest_cpu_num(void)
{
    return GUEST_QUEUES_MAX;
}

int dm_strtoi(const char *text, char **end, unsigned int base, int *value)
{
    *value = (int)strtol(text, end, (int)base);
    return *end == text ? -1 : 0;
}

int dm_strtol(const char *text, char **end, unsigned int base, long *value)
{
    *value = strtol(text, end, (int)base);
    return *end == text ? -1 : 0;
}

void output_log(uint8_t level, const char *format, ...)
{
    va_list arguments;

    if (level > LOG_WARNING)
        return;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

int pci_emul_alloc_bar(struct pci_vdev *dev, int index, enum pcibar_type type,
                       uint64_t bytes)
{
    (void)dev, (void)index, (void)type, (void)bytes;
    return 0;
}

int pci_emul_add_msicap(struct pci_vdev *dev, int count)
{
    (void)dev, (void)count;
    return 0;
}

int pci_emul_add_msixcap(struct pci_vdev *dev, int count, int bar)
{
    (void)dev, (void)count, (void)bar;
    return 0;
}

int virtio_uses_msix(void)
{
    return 0;
}

int pci_msix_enabled(struct pci_vdev *dev)
{
    (void)dev;
    return 0;
}

/* The guest looks for itself whether something is done. */
void pci_generate_msi(struct pci_vdev *dev, int index)
{
    (void)dev, (void)index;
}

void pci_lintr_request(struct pci_vdev *dev)
{
    (void)dev;
}

void pci_lintr_assert(struct pci_vdev *dev)
{
    (void)dev;
}

void pci_lintr_deassert(struct pci_vdev *dev)
{
    (void)dev;
}

int monitor_register_vm_ops(struct monitor_vm_ops *ops, void *arg,
                            const char *name)
{
    (void)ops, (void)arg, (void)name;
    return 0;
}

int vm_ioeventfd(struct vmctx *ctx, struct acrn_ioeventfd *args)
{
    (void)ctx, (void)args;
    return 0;
}

/* For a poll that is off. */
int acrn_timer_init(struct acrn_timer *timer, void (*fn)(void *, uint64_t),
                    void *param)
{
    (void)timer, (void)fn, (void)param;
    return 0;
}

void acrn_timer_deinit(struct acrn_timer *timer)
{
    (void)timer;
}

/* The serial number is made of an MD5, which nobody asks for here. */
#define UNUSED(type, name) type name(void); type name(void) { return 0; }
UNUSED(void *, EVP_MD_CTX_new)
UNUSED(void *, EVP_md5)
UNUSED(int, EVP_DigestInit_ex)
UNUSED(int, EVP_DigestUpdate)
UNUSED(int, EVP_DigestFinal_ex)
UNUSED(int, EVP_MD_CTX_free)

/* ---- the guest's driver ------------------------------------------------ */

static void out(uint64_t offset, int bytes, uint64_t value)
{
    pci_ops_virtio_blk.vdev_barwrite(NULL, 0, &device, 0, offset, bytes,
                                     value);
}

static void kick(int queue)
{
    out(VIRTIO_PCI_QUEUE_NOTIFY, 2, (uint64_t)queue);
}

static void set_up(int queues)
{
    int i;

    for (i = 0; i < queues; i++) {
        out(VIRTIO_PCI_QUEUE_SEL, 2, (uint64_t)i);
        out(VIRTIO_PCI_QUEUE_PFN, 4, guest_page(&guest, i));
    }
    out(VIRTIO_PCI_STATUS, 1, VIRTIO_CONFIG_S_DRIVER_OK);
}

/* The sectors of a block by several requests, a flush, and a read of them. */
static bool works(void)
{
    char expected[4096];
    bool good = true;
    int i;

    for (i = 0; i < 8; i++) {
        memset(guest_data(&guest, 0, i), 'a' + i, 512);
        memset(expected + 512 * i, 'a' + i, 512);
        guest_put(&guest, 0, i, GUEST_WRITE, 8 + (uint64_t)i, 512);
    }
    kick(0);
    for (i = 0; i < 8; i++)
        good = guest_wait(&guest, 0, i) == 0 && good;
    guest_put(&guest, 0, 0, GUEST_FLUSH, 0, 0);
    kick(0);
    good = guest_wait(&guest, 0, 0) == 0 && good;
    guest_put(&guest, 0, 1, GUEST_READ, 8, 4096);
    kick(0);
    good = guest_wait(&guest, 0, 1) == 0 && good;
    return good && memcmp(guest_data(&guest, 0, 1), expected, 4096) == 0;
}

/* Past the end: the guest is told, and the process lives. */
static bool refuses(void)
{
    bool good;

    guest_put(&guest, 0, 0, GUEST_READ, UINT64_C(1) << 50, 512);
    kick(0);
    good = guest_wait(&guest, 0, 0) == 1;
    return good;
}

int main(int argc, char **argv)
{
    struct guest_tally tally;
    char options[512];
    int queues = argc > 3 ? atoi(argv[3]) : 1;
    bool good;

    if (argc < 4 || queues < 1 || queues > GUEST_QUEUES_MAX)
        return 2;
    snprintf(options, sizeof(options), "mq=%d,%s,%s", queues, argv[2],
             argv[1]);
    guest_make(&guest, queues, 64, kick);
    if (pci_ops_virtio_blk.vdev_init(NULL, &device, options) != 0)
        return 1;
    set_up(queues);
    good = works();
    printf("  eight sectors, a flush and a read: %s; past the end: %s\n",
           good ? "well" : "FAILED", refuses() ? "refused" : "NOT REFUSED");
    tally = guest_race(&guest, argv[2]);
    printf("  %d queues: %d of %d lost, %d failed\n", queues, tally.lost,
           tally.of, tally.failed);
    pci_ops_virtio_blk.vdev_deinit(NULL, &device, options);
    guest_free(&guest);
    return !good || tally.lost != 0;
}
