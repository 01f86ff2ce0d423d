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
static const u8 DMR_STS_NOTSUPP = (__force u8)BLK_STS_NOTSUPP;
static const u8 DMR_STS_INVAL = (__force u8)BLK_STS_INVAL;
static const u8 DMR_STS_DURATION_LIMIT = (__force u8)BLK_STS_DURATION_LIMIT;
static const u8 DMR_STS_AGAIN = (__force u8)BLK_STS_AGAIN;
static const u8 DMR_STS_RESV_CONFLICT = (__force u8)BLK_STS_RESV_CONFLICT;
static const u8 DMR_STS_TARGET = (__force u8)BLK_STS_TARGET;
static const u8 DMR_STS_MEDIUM = (__force u8)BLK_STS_MEDIUM;
static const u8 DMR_STS_PROTECTION = (__force u8)BLK_STS_PROTECTION;
static const u8 DMR_STS_TIMEOUT = (__force u8)BLK_STS_TIMEOUT;
static const u8 DMR_STS_TRANSPORT = (__force u8)BLK_STS_TRANSPORT;
static const u8 DMR_STS_OFFLINE = (__force u8)BLK_STS_OFFLINE;
static const u8 DMR_STS_REQUEUE = (__force u8)BLK_STS_DM_REQUEUE;
static const u32 DMR_FEAT_STABLE_WRITES = (__force u32)BLK_FEAT_STABLE_WRITES;
static const u32 DMR_FEAT_POLL = (__force u32)BLK_FEAT_POLL;
static const u32 DMR_GFP_NOIO = (__force u32)GFP_NOIO;
static const u32 DMR_GFP_NOWAIT = (__force u32)GFP_NOWAIT;
static const u32 DMR_OPEN_READ = (__force u32)BLK_OPEN_READ;
static const u32 DMR_OPEN_WRITE = (__force u32)BLK_OPEN_WRITE;

void dmr_bio_set_dev(struct bio *bio, struct block_device *bdev);
void dmr_zero_fill_bio(struct bio *bio);
void dmr_copy_from_bio(struct bio *bio, size_t offset, void *to, size_t len);
void dmr_copy_to_bio(struct bio *bio, size_t offset, const void *from, size_t len);
bool dmr_bio_is_aligned(struct bio *bio, const struct bvec_iter *begin,
			struct block_device *bdev);
sector_t dmr_bdev_nr_sectors(struct block_device *bdev);
unsigned int dmr_bdev_logical_block_size(struct block_device *bdev);
bool dmr_bdev_read_only(struct block_device *bdev);
bool dmr_bdev_write_cache(struct block_device *bdev);
dev_t dmr_bdev_dev(struct block_device *bdev);
dev_t dmr_md_dev(struct mapped_device *md);
int dmr_bdev_exists(dev_t dev);
void dmr_stack_block_size(struct queue_limits *limits, unsigned int bytes);
void dmr_stack_dma_alignment(struct queue_limits *limits, struct block_device *bdev);
unsigned int dmr_noio_save(void);
void dmr_noio_restore(unsigned int flags);
unsigned int dmr_cpu(void);
void dmr_init_delayed_work(struct delayed_work *work, work_func_t fn,
			   const char *name, struct lock_class_key *key);
int dmr_send_change(struct dm_table *table, char **variables);
struct workqueue_struct *dmr_alloc_ordered_workqueue(const char *name);

#endif
