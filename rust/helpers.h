/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C shims for rust/dm/: inline functions and macros that bindgen can't bind,
 * and prototypes that the kernel exports without a public header.
 *
 * Nothing but rust/dm/ may use them.
 */
#ifndef DM_SVOL_HELPERS_H
#define DM_SVOL_HELPERS_H

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/workqueue.h>

/*
 * Exported by dm-mod for targets that suspend the devices on top of them
 * (dm-thin does so), but declared only in drivers/md/dm.h.
 */
void dm_internal_suspend_noflush(struct mapped_device *md);
void dm_internal_resume(struct mapped_device *md);

/* Constants that are macros with casts, which bindgen skips. */
static const u8 DMR_STS_OK = (__force u8)BLK_STS_OK;
static const u8 DMR_STS_IOERR = (__force u8)BLK_STS_IOERR;
static const u8 DMR_STS_NOSPC = (__force u8)BLK_STS_NOSPC;
static const u8 DMR_STS_MEDIUM = (__force u8)BLK_STS_MEDIUM;
static const u8 DMR_STS_NOTSUPP = (__force u8)BLK_STS_NOTSUPP;
static const u8 DMR_STS_TARGET = (__force u8)BLK_STS_TARGET;
static const u8 DMR_STS_PROTECTION = (__force u8)BLK_STS_PROTECTION;
static const u8 DMR_STS_AGAIN = (__force u8)BLK_STS_AGAIN;
static const u8 DMR_STS_RESOURCE = (__force u8)BLK_STS_RESOURCE;
static const u8 DMR_STS_DM_REQUEUE = (__force u8)BLK_STS_DM_REQUEUE;
static const u32 DMR_OPEN_READ = (__force u32)BLK_OPEN_READ;
static const u32 DMR_OPEN_WRITE = (__force u32)BLK_OPEN_WRITE;

void dmr_bio_set_dev(struct bio *bio, struct block_device *bdev);
bool dmr_bio_accept(struct bio *bio, u32 sectors);
void dmr_bio_rewind(struct bio *bio, u32 opf, const struct bvec_iter *begin,
		    u32 bytes);
void dmr_bio_copy_to(struct bio *bio, const struct bvec_iter *begin, u32 offset,
		     void *buffer, u32 bytes);
void dmr_bio_copy_from(struct bio *bio, const struct bvec_iter *begin,
		       u32 offset, const void *buffer, u32 bytes);
struct bio *dmr_bio_clone(struct bio *bio, struct block_device *bdev,
			  struct bio_set *set, bool wait);
sector_t dmr_bdev_nr_sectors(struct block_device *bdev);
unsigned int dmr_bdev_logical_block_size(struct block_device *bdev);
bool dmr_bdev_read_only(struct block_device *bdev);
dev_t dmr_bdev_dev(struct block_device *bdev);
dev_t dmr_md_dev(struct mapped_device *md);
void dmr_stack_block_size(struct queue_limits *limits, unsigned int bytes);
unsigned int dmr_noio_save(void);
void dmr_noio_restore(unsigned int flags);
unsigned int dmr_cpu(void);

/*
 * Two ways to ask for one function: now, and in a while. The queue is ordered,
 * so that it never runs twice at once. With one delayed work alone, a caller
 * that wants it in a while could put off what another one wants now.
 */
struct dmr_worker {
	struct work_struct now;
	struct delayed_work later;
	spinlock_t lock; /* Protects the decision when later is due. */
	struct workqueue_struct *queue;
	void (*run)(struct dmr_worker *worker);
};

int dmr_worker_init(struct dmr_worker *worker, const char *name,
		    void (*run)(struct dmr_worker *worker));
void dmr_worker_exit(struct dmr_worker *worker);
void dmr_worker_kick(struct dmr_worker *worker);
void dmr_worker_kick_within(struct dmr_worker *worker, u32 ms);
void dmr_worker_quiesce(struct dmr_worker *worker);

#endif
