// SPDX-License-Identifier: GPL-2.0
/*
 * C shims for rust/dm/, see helpers.h.
 */
#include <linux/bio.h>
#include <linux/sched/mm.h>
#include <linux/smp.h>

#include "helpers.h"

void dmr_bio_set_dev(struct bio *bio, struct block_device *bdev)
{
	bio_set_dev(bio, bdev);
}

void dmr_zero_fill_bio(struct bio *bio)
{
	zero_fill_bio(bio);
}

/* The bio must have at least offset + len bytes left. */
void dmr_copy_from_bio(struct bio *bio, size_t offset, void *to, size_t len)
{
	struct bvec_iter iter = bio->bi_iter;
	struct bio_vec bv;

	bio_advance_iter(bio, &iter, offset);
	while (len) {
		bv = bio_iter_iovec(bio, iter);
		bv.bv_len = min_t(size_t, bv.bv_len, len);
		memcpy_from_bvec(to, &bv);
		to += bv.bv_len;
		len -= bv.bv_len;
		bio_advance_iter_single(bio, &iter, bv.bv_len);
	}
}

/* As above, the other way round. */
void dmr_copy_to_bio(struct bio *bio, size_t offset, const void *from, size_t len)
{
	struct bvec_iter iter = bio->bi_iter;
	struct bio_vec bv;

	bio_advance_iter(bio, &iter, offset);
	while (len) {
		bv = bio_iter_iovec(bio, iter);
		bv.bv_len = min_t(size_t, bv.bv_len, len);
		memcpy_to_bvec(&bv, from);
		from += bv.bv_len;
		len -= bv.bv_len;
		bio_advance_iter_single(bio, &iter, bv.bv_len);
	}
}

/* As bio_split_io_at() looks at the memory of a bio, here from begin on. */
bool dmr_bio_is_aligned(struct bio *bio, const struct bvec_iter *begin,
			struct block_device *bdev)
{
	unsigned int mask = bdev_dma_alignment(bdev);
	struct bvec_iter iter;
	struct bio_vec bv;

	__bio_for_each_bvec(bv, bio, iter, *begin) {
		if ((bv.bv_offset | bv.bv_len) & mask)
			return false;
	}
	return true;
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

bool dmr_bdev_write_cache(struct block_device *bdev)
{
	return bdev_write_cache(bdev);
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

void dmr_stack_dma_alignment(struct queue_limits *limits, struct block_device *bdev)
{
	limits->dma_alignment = max(limits->dma_alignment, bdev_dma_alignment(bdev));
}

unsigned int dmr_noio_save(void)
{
	return memalloc_noio_save();
}

/* dm_devt_from_path() takes any pair of numbers for a device. */
int dmr_bdev_exists(dev_t dev)
{
	struct file *file;

	file = bdev_file_open_by_dev(dev, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(file))
		return PTR_ERR(file);
	bdev_fput(file);
	return 0;
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

/* INIT_DELAYED_WORK() would give all callers of this function one lockdep class. */
void dmr_init_delayed_work(struct delayed_work *work, work_func_t fn,
			   const char *name, struct lock_class_key *key)
{
	INIT_DELAYED_WORK(work, fn);
	lockdep_init_map(&work->work.lockdep_map, name, key, 0);
}

int dmr_send_change(struct dm_table *table, char **variables)
{
	struct gendisk *disk = dm_disk(dm_table_get_md(table));

	return kobject_uevent_env(&disk_to_dev(disk)->kobj, KOBJ_CHANGE, variables);
}

struct workqueue_struct *dmr_alloc_ordered_workqueue(const char *name)
{
	return alloc_ordered_workqueue("%s", WQ_MEM_RECLAIM, name);
}
