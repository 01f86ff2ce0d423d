// SPDX-License-Identifier: GPL-2.0
/*
 * C shims for rust/dm/, see helpers.h.
 */
#include <linux/bio.h>
#include <linux/bvec.h>
#include <linux/sched/mm.h>
#include <linux/smp.h>

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
