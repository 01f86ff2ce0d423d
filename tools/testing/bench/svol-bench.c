// SPDX-License-Identifier: GPL-2.0
/*
 * A load generator inside the kernel, for measurements of block devices.
 *
 * Write one run as words into svol_bench/run in debugfs:
 *
 *   <device> <op> <writers> <depth> <ios> <bytes> <unit> <span> <skip> <window>
 *
 * op is read, write, write+sync (a flush at the end counts too) or write+flush (each write is
 * followed by a flush). Each of the writers has up to depth I/Os of so many bytes in flight, ios
 * in all. Place number i is a random one out of span (a power of two) places, unit bytes apart;
 * places skip to skip + window - 1 are used, over and over, and no place comes twice in one round.
 * With a span of 0 the places follow each other. The write ends with the run; reading the file
 * gives the nanoseconds that it took.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/debugfs.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#define MAX_BYTES	SZ_1M
#define MAX_PAGES	(MAX_BYTES / PAGE_SIZE)

enum bench_op { OP_READ, OP_WRITE, OP_WRITE_SYNC, OP_WRITE_FLUSH };

static const char * const op_names[] = { "read", "write", "write+sync", "write+flush" };

struct bench {
	struct block_device *bdev;
	enum bench_op op;
	unsigned int writers, depth, bytes;
	u64 ios, unit, span, skip, window;
	struct page *page;
	atomic64_t next;
	int error;
	struct completion begin;
};

struct slot {
	struct bio bio;
	struct bio_vec vecs[MAX_PAGES];
	struct writer *writer;
	struct slot *next;
};

struct writer {
	struct bench *bench;
	spinlock_t lock; /* protects free and used */
	struct slot *free;
	unsigned int used;
	wait_queue_head_t wait;
	struct slot *slots;
	struct completion done;
};

static DEFINE_MUTEX(bench_mutex);
static u64 bench_ns;

/* A permutation of 0 to span - 1. */
static u64 shuffle(u64 i, u64 span)
{
	unsigned int half = (ilog2(span) + 1) / 2;
	int round;

	for (round = 0; round < 3; round++) {
		i = (i * 0x9e3779b97f4a7c15ULL + 0x7f4a7c15) & (span - 1);
		i ^= i >> half;
	}
	return i;
}

static sector_t place(const struct bench *bench, u64 number)
{
	u64 rest;

	div64_u64_rem(number, bench->window, &rest);
	rest += bench->skip;
	if (bench->span)
		rest = shuffle(rest, bench->span);
	return (rest * bench->unit) >> SECTOR_SHIFT;
}

static void bench_end_io(struct bio *bio)
{
	struct slot *slot = container_of(bio, struct slot, bio);
	struct writer *writer = slot->writer;
	unsigned long flags;

	if (bio->bi_status)
		WRITE_ONCE(writer->bench->error, blk_status_to_errno(bio->bi_status));
	spin_lock_irqsave(&writer->lock, flags);
	slot->next = writer->free;
	writer->free = slot;
	writer->used--;
	spin_unlock_irqrestore(&writer->lock, flags);
	wake_up(&writer->wait);
}

static struct slot *take(struct writer *writer)
{
	struct slot *slot;

	spin_lock_irq(&writer->lock);
	slot = writer->free;
	if (slot) {
		writer->free = slot->next;
		writer->used++;
	}
	spin_unlock_irq(&writer->lock);
	return slot;
}

static void submit(struct writer *writer, sector_t sector)
{
	struct bench *bench = writer->bench;
	unsigned int left = bench->bytes;
	struct slot *slot;

	wait_event(writer->wait, (slot = take(writer)));
	bio_init(&slot->bio, bench->bdev, slot->vecs, MAX_PAGES,
		 bench->op == OP_READ ? REQ_OP_READ : REQ_OP_WRITE | REQ_SYNC | REQ_IDLE);
	slot->bio.bi_iter.bi_sector = sector;
	slot->bio.bi_end_io = bench_end_io;
	while (left) {
		unsigned int part = min_t(unsigned int, left, PAGE_SIZE);

		__bio_add_page(&slot->bio, bench->page, part, 0);
		left -= part;
	}
	submit_bio(&slot->bio);
}

static void drain(struct writer *writer)
{
	wait_event(writer->wait, !READ_ONCE(writer->used));
	/* Until whoever came last has left the lock. */
	spin_lock_irq(&writer->lock);
	spin_unlock_irq(&writer->lock);
}

static int writer_thread(void *data)
{
	struct writer *writer = data;
	struct bench *bench = writer->bench;
	u64 number;
	int error;

	wait_for_completion(&bench->begin);
	while ((number = atomic64_inc_return(&bench->next) - 1) < bench->ios) {
		submit(writer, place(bench, number));
		if (bench->op == OP_WRITE_FLUSH) {
			drain(writer);
			error = blkdev_issue_flush(bench->bdev);
			if (error)
				WRITE_ONCE(bench->error, error);
		}
		cond_resched();
	}
	drain(writer);
	/* Not a return: nothing of this module runs after that. */
	kthread_complete_and_exit(&writer->done, 0);
}

static void free_writer(struct writer *writer)
{
	kvfree(writer->slots);
}

static int init_writer(struct writer *writer, struct bench *bench)
{
	unsigned int i;

	writer->bench = bench;
	spin_lock_init(&writer->lock);
	init_waitqueue_head(&writer->wait);
	init_completion(&writer->done);
	writer->slots = kvcalloc(bench->depth, sizeof(*writer->slots), GFP_KERNEL);
	if (!writer->slots)
		return -ENOMEM;
	for (i = 0; i < bench->depth; i++) {
		writer->slots[i].writer = writer;
		writer->slots[i].next = writer->free;
		writer->free = &writer->slots[i];
	}
	return 0;
}

static int run_writers(struct bench *bench, struct writer *writers)
{
	struct task_struct *task;
	unsigned int i, started = 0;
	ktime_t began;
	int error = 0;

	for (i = 0; i < bench->writers; i++) {
		error = init_writer(&writers[i], bench);
		if (error)
			return error;
	}
	for (i = 0; i < bench->writers; i++) {
		task = kthread_run(writer_thread, &writers[i], "svol-bench/%u", i);
		if (IS_ERR(task)) {
			error = PTR_ERR(task);
			bench->ios = 0;
			break;
		}
		started++;
	}
	began = ktime_get();
	complete_all(&bench->begin);
	for (i = 0; i < started; i++)
		wait_for_completion(&writers[i].done);
	if (bench->op == OP_WRITE_SYNC && !error)
		error = blkdev_issue_flush(bench->bdev);
	bench_ns = ktime_to_ns(ktime_sub(ktime_get(), began));
	return error ?: bench->error;
}

static int run(struct bench *bench)
{
	struct writer *writers;
	unsigned int i;
	int error;

	if (!bench->writers || bench->writers > 64 || !bench->depth || bench->depth > 1024 ||
	    !bench->bytes || bench->bytes > MAX_BYTES || bench->bytes & (SECTOR_SIZE - 1) ||
	    !bench->window || !bench->unit || bench->span & (bench->span - 1) ||
	    (bench->span && bench->skip + bench->window > bench->span))
		return -EINVAL;
	bench->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	writers = kcalloc(bench->writers, sizeof(*writers), GFP_KERNEL);
	error = bench->page && writers ? run_writers(bench, writers) : -ENOMEM;
	for (i = 0; writers && i < bench->writers; i++)
		free_writer(&writers[i]);
	kfree(writers);
	if (bench->page)
		__free_page(bench->page);
	return error;
}

static ssize_t run_write(struct file *file, const char __user *user, size_t count, loff_t *pos)
{
	char *text, device[64], op[16];
	struct bench bench = { };
	struct file *opened;
	int error, index;

	text = memdup_user_nul(user, min_t(size_t, count, 512));
	if (IS_ERR(text))
		return PTR_ERR(text);
	error = sscanf(text, "%63s %15s %u %u %llu %u %llu %llu %llu %llu", device, op,
		       &bench.writers, &bench.depth, &bench.ios, &bench.bytes, &bench.unit,
		       &bench.span, &bench.skip, &bench.window);
	kfree(text);
	if (error != 10)
		return -EINVAL;
	index = match_string(op_names, ARRAY_SIZE(op_names), op);
	if (index < 0)
		return -EINVAL;
	bench.op = index;
	init_completion(&bench.begin);
	opened = bdev_file_open_by_path(device, bench.op == OP_READ ? BLK_OPEN_READ :
					BLK_OPEN_READ | BLK_OPEN_WRITE, NULL, NULL);
	if (IS_ERR(opened))
		return PTR_ERR(opened);
	bench.bdev = file_bdev(opened);
	mutex_lock(&bench_mutex);
	error = run(&bench);
	mutex_unlock(&bench_mutex);
	bdev_fput(opened);
	return error ?: count;
}

static ssize_t run_read(struct file *file, char __user *user, size_t count, loff_t *pos)
{
	char text[32];
	int length = scnprintf(text, sizeof(text), "%llu\n", bench_ns);

	return simple_read_from_buffer(user, count, pos, text, length);
}

static const struct file_operations run_fops = {
	.owner = THIS_MODULE,
	.read = run_read,
	.write = run_write,
};

static struct dentry *bench_dir;

static int __init bench_init(void)
{
	bench_dir = debugfs_create_dir("svol_bench", NULL);
	debugfs_create_file("run", 0600, bench_dir, NULL, &run_fops);
	return 0;
}

static void __exit bench_exit(void)
{
	debugfs_remove_recursive(bench_dir);
}

module_init(bench_init);
module_exit(bench_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Load generator for measurements of block devices");
