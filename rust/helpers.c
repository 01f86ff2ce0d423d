// SPDX-License-Identifier: GPL-2.0
/*
 * C shims for rust/dm/, see helpers.h.
 */
#include <linux/bio.h>
#include <linux/bvec.h>
#include <linux/sched/mm.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "helpers.h"

void dmr_bio_set_dev(struct bio *bio, struct block_device *bdev)
{
	bio_set_dev(bio, bdev);
}

/* Devices with zones have rules of their own about what may be cut. */
bool dmr_bio_accept(struct bio *bio, u32 sectors)
{
	if (bdev_is_zoned(bio->bi_bdev))
		return false;
	dm_accept_partial_bio(bio, sectors);
	return true;
}

/* Undoes what drivers do to a bio that they handle, and to its flags. */
void dmr_bio_rewind(struct bio *bio, u32 opf, const struct bvec_iter *begin,
		    u32 bytes)
{
	bio->bi_opf = (__force blk_opf_t)opf;
	bio->bi_iter = *begin;
	bio->bi_iter.bi_size = bytes;
	bio->bi_status = BLK_STS_OK;
	bio->bi_next = NULL;
	/* A driver that split it has counted it down to nothing. */
	atomic_set(&bio->__bi_remaining, 1);
}

/* An iterator over @bytes, @offset bytes behind the place @begin. */
static struct bvec_iter dmr_bio_iter(struct bio *bio,
				     const struct bvec_iter *begin, u32 offset,
				     u32 bytes)
{
	struct bvec_iter iter = *begin;

	iter.bi_size = offset + bytes;
	bio_advance_iter(bio, &iter, offset);
	return iter;
}

void dmr_bio_copy_to(struct bio *bio, const struct bvec_iter *begin, u32 offset,
		     void *buffer, u32 bytes)
{
	struct bvec_iter iter = dmr_bio_iter(bio, begin, offset, bytes);

	while (iter.bi_size) {
		struct bio_vec bv = bio_iter_iovec(bio, iter);

		memcpy_from_bvec(buffer, &bv);
		buffer += bv.bv_len;
		bio_advance_iter_single(bio, &iter, bv.bv_len);
	}
}

void dmr_bio_copy_from(struct bio *bio, const struct bvec_iter *begin,
		       u32 offset, const void *buffer, u32 bytes)
{
	struct bvec_iter iter = dmr_bio_iter(bio, begin, offset, bytes);

	while (iter.bi_size) {
		struct bio_vec bv = bio_iter_iovec(bio, iter);

		memcpy_to_bvec(&bv, buffer);
		buffer += bv.bv_len;
		bio_advance_iter_single(bio, &iter, bv.bv_len);
	}
}

/* The clone shares the data, and is charged to whom the bio is charged. */
struct bio *dmr_bio_clone(struct bio *bio, struct block_device *bdev,
			  struct bio_set *set, bool wait)
{
	struct bio *clone;

	clone = bio_alloc_clone(NULL, bio, wait ? GFP_NOIO : GFP_NOWAIT, set);
	if (clone)
		bio_set_dev(clone, bdev);
	return clone;
}

sector_t dmr_bdev_nr_sectors(struct block_device *bdev)
{
	return bdev_nr_sectors(bdev);
}

unsigned int dmr_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

bool dmr_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

dev_t dmr_bdev_dev(struct block_device *bdev)
{
	return bdev->bd_dev;
}

dev_t dmr_md_dev(struct mapped_device *md)
{
	return disk_devt(dm_disk(md));
}

void dmr_stack_block_size(struct queue_limits *limits, unsigned int bytes)
{
	dm_stack_bs_limits(limits, bytes);
}

unsigned int dmr_noio_save(void)
{
	return memalloc_noio_save();
}

void dmr_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}

unsigned int dmr_cpu(void)
{
	/* Only spreads counters over cache lines: migration does no harm. */
	return raw_smp_processor_id();
}

static void dmr_worker_now(struct work_struct *work)
{
	struct dmr_worker *worker = container_of(work, struct dmr_worker, now);

	worker->run(worker);
}

static void dmr_worker_later(struct work_struct *work)
{
	struct dmr_worker *worker =
		container_of(work, struct dmr_worker, later.work);

	worker->run(worker);
}

int dmr_worker_init(struct dmr_worker *worker, const char *name,
		    void (*run)(struct dmr_worker *worker))
{
	worker->run = run;
	spin_lock_init(&worker->lock);
	INIT_WORK(&worker->now, dmr_worker_now);
	INIT_DELAYED_WORK(&worker->later, dmr_worker_later);
	worker->queue = alloc_ordered_workqueue("%s", WQ_MEM_RECLAIM, name);
	return worker->queue ? 0 : -ENOMEM;
}

void dmr_worker_exit(struct dmr_worker *worker)
{
	/* Disabled, not only cancelled: a run may ask for the next one. */
	disable_delayed_work_sync(&worker->later);
	disable_work_sync(&worker->now);
	destroy_workqueue(worker->queue);
}

void dmr_worker_kick(struct dmr_worker *worker)
{
	queue_work(worker->queue, &worker->now);
}

void dmr_worker_kick_within(struct dmr_worker *worker, u32 ms)
{
	unsigned long delay = msecs_to_jiffies(ms);
	unsigned long flags;

	spin_lock_irqsave(&worker->lock, flags);
	if (!queue_delayed_work(worker->queue, &worker->later, delay) &&
	    timer_pending(&worker->later.timer) &&
	    time_after(worker->later.timer.expires, jiffies + delay))
		mod_delayed_work(worker->queue, &worker->later, delay);
	spin_unlock_irqrestore(&worker->lock, flags);
}

void dmr_worker_quiesce(struct dmr_worker *worker)
{
	do {
		flush_delayed_work(&worker->later);
		flush_work(&worker->now);
	} while (work_busy(&worker->now) || work_busy(&worker->later.work));
}
