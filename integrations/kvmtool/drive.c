/*
 * drive DEVICE: kvmtool's own virtio-blk and disk layer, from
 * disk_image__init() to disk_image__exit(), linked with all of kvmtool but its
 * main(), on a disk that is opened directly. There is no VM: the transport
 * (virtio_init) is replaced by this file, and the guest by ../guest. `check`
 * builds it, in kvmtool as it is and with blkalign.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/disk-image.h"
#include "kvm/kvm.h"
#include "kvm/virtio-blk.h"
#include "kvm/virtio.h"
#include <linux/list.h>

#include "queue.h"

#define ENTRIES 256             /* VIRTIO_BLK_QUEUE_SIZE */
#define RESETS 200

static struct guest guest;
static struct kvm kvm;
static struct virtio_device *vdev;
static struct virtio_ops ops;
static void *blk;

/* ---- the transport ----------------------------------------------------- */

/* The guest looks for itself whether something is done. */
static int signal_vq(struct kvm *of, struct virtio_device *device, u32 queue)
{
    (void)of, (void)device, (void)queue;
    return 0;
}

int __wrap_virtio_init(struct kvm *of, void *dev, struct virtio_device *device,
                       struct virtio_ops *given, enum virtio_trans trans,
                       int device_id, int subsys_id, int class);
int __wrap_virtio_init(struct kvm *of, void *dev, struct virtio_device *device,
                       struct virtio_ops *given, enum virtio_trans trans,
                       int device_id, int subsys_id, int class)
{
    (void)of, (void)trans, (void)device_id, (void)subsys_id, (void)class;
    blk = dev;
    vdev = device;
    ops = *given;
    ops.signal_vq = signal_vq;
    vdev->ops = &ops;
    vdev->endian = VIRTIO_ENDIAN_LE;
    return 0;
}

void __wrap_virtio_exit(struct kvm *of, struct virtio_device *device);
void __wrap_virtio_exit(struct kvm *of, struct virtio_device *device)
{
    virtio_exit_vq(of, device, blk, 0);
}

static void start(void)
{
    struct virt_queue *queue = ops.get_vq(&kvm, blk, 0);

    guest_reset(&guest, 0);
    queue->vring_addr.legacy = true;
    queue->vring_addr.pfn = guest_page(&guest, 0);
    queue->vring_addr.pgsize = GUEST_PAGE;
    queue->vring_addr.align = GUEST_PAGE;
    if (ops.init_vq(&kvm, blk, 0) < 0)
        exit(1);
}

static void kick(int queue)
{
    ops.notify_vq(&kvm, blk, (u32)queue);
}

/* ---- the guest --------------------------------------------------------- */

/* The queue's thread is cancelled wherever it is: in a submission, in a flush,
 * which waits. 1 if the disk does not work afterwards. */
static int resets(void)
{
    int i, wrong = 0;

    for (i = 0; i < RESETS; i++) {
        guest_flood(&guest, 40);
        guest_put(&guest, 0, 40, GUEST_FLUSH, 0, 0);
        kick(0);
        if (i % 4 == 0)
            wrong += guest_wait(&guest, 0, 40) != 0;
        virtio_exit_vq(&kvm, vdev, blk, 0);
        start();
    }
    return wrong;
}

int main(int argc, char **argv)
{
    static struct kvm_mem_bank bank;
    struct guest_tally tally;
    int wrong;

    if (argc != 2)
        return 2;
    setbuf(stdout, NULL);
    guest_make(&guest, 1, ENTRIES, kick);
    INIT_LIST_HEAD(&kvm.mem_banks);
    bank.host_addr = guest.memory;
    bank.size = guest.bytes;
    list_add(&bank.list, &kvm.mem_banks);
    kvm.cfg.disk_image[0].filename = argv[1];
    kvm.cfg.disk_image[0].direct = true;
    kvm.nr_disks = 1;
    if (disk_image__init(&kvm) < 0 || virtio_blk__init(&kvm) < 0)
        return 1;
    start();
    tally = guest_race(&guest, argv[1]);
    printf("  %d of %d lost, %d failed\n", tally.lost, tally.of, tally.failed);
    if (tally.failed == 0) {
        wrong = resets();
        tally = guest_race(&guest, argv[1]);
        printf("  after %d resets of the queue: %d flushes failed, "
               "%d of %d lost\n", RESETS, wrong, tally.lost, tally.of);
        tally.lost += wrong;
    }
    virtio_blk__exit(&kvm);
    disk_image__exit(&kvm);
    printf("  exit\n");
    guest_free(&guest);
    return tally.lost != 0;
}
