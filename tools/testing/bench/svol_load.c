// SPDX-License-Identifier: GPL-2.0
/*
 * svol_load: a load generator inside the kernel, for `make bench` only.
 *
 * Writing a line of words to the module parameter "run" sends bios straight
 * to a block device and returns when all of them are answered:
 *
 *   <device> <op> <order> <sectors> <begin> <stride> <places> <first> <count> <writers> <depth>
 *
 * op       read, write, sync (a write and then a flush, one after the other),
 *          or settle (as write, and one flush at the end, which counts)
 * order    seq, or rand: each place once, in an order without a pattern; then again
 * sectors  of one I/O
 * begin    sector of the first place
 * stride   sectors from one place to the next
 * places   how many places there are; a power of two for rand
 * first    how many places of the order are skipped
 * count    how many I/Os
 * writers  threads that share them
 * depth    I/Os under way for each thread
 *
 * Reading the parameter "result" gives the time in nanoseconds of the last
 * run and its number of failed I/Os.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/llist.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/wait.h>

#define MAX_WRITERS	64
#define MAX_DEPTH	256
#define MAX_SECTORS	2048
#define PATH_SIZE	128

enum load_op { LOAD_READ, LOAD_WRITE, LOAD_SYNC, LOAD_SETTLE };

static const char * const op_names[] = { "read", "write", "sync", "settle" };

/* One run. */
struct load {
	char path[PATH_SIZE];
	enum load_op op;
	bool is_random;
	unsigned int sectors;
	u64 begin;
	u64 stride;
	u64 places;
	u64 first;
	u64 count;
	unsigned int writers;
	unsigned int depth;
	struct block_device *bdev;
	atomic_t running;
	atomic_t failed;
	struct completion done;
};

/* One I/O under way; the bio is used again and again. */
struct slot {
	struct llist_node node;
	struct writer *writer;
	struct bio bio;
	struct bio_vec vec;
	struct page *page;
};

/* One thread. */
struct writer {
	struct load *load;
	unsigned int index;
	struct llist_head ended;
	wait_queue_head_t wait;
	struct slot *slots;
};

static u64 last_ns;
static int last_failed;

/* Maps the numbers below a power of two to themselves, all different. */
static u64 shuffled(u64 i, u64 places)
{
	unsigned int half = max(ilog2(places) / 2, 1);
	u64 mask = places - 1;
	int round;

	for (round = 0; round < 3; round++) {
		i = (i * 0x9e3779b97f4a7c15ULL + 0x632be59bd9b4e019ULL) & mask;
		i ^= i >> half;
	}
	return i & mask;
}

static void load_end_io(struct bio *bio)
{
	struct slot *slot = container_of(bio, struct slot, bio);
	struct writer *writer = slot->writer;

	if (bio->bi_status)
		atomic_inc(&writer->load->failed);
	if (llist_add(&slot->node, &writer->ended))
		wake_up(&writer->wait);
}

static void send_one(struct writer *writer, struct slot *slot, u64 i)
{
	struct load *load = writer->load;
	blk_opf_t opf = load->op == LOAD_READ ? REQ_OP_READ :
						REQ_OP_WRITE | REQ_SYNC | REQ_IDLE;
	u64 place = (i + load->first) % load->places;

	if (load->is_random)
		place = shuffled(place, load->places);
	bio_init(&slot->bio, load->bdev, &slot->vec, 1, opf);
	slot->bio.bi_iter.bi_sector = load->begin + place * load->stride;
	slot->bio.bi_end_io = load_end_io;
	__bio_add_page(&slot->bio, slot->page, load->sectors << SECTOR_SHIFT, 0);
	submit_bio(&slot->bio);
}

static void run_writer(struct writer *writer)
{
	struct load *load = writer->load;
	struct llist_node *spare = NULL;
	unsigned int depth = load->depth, under_way = 0;
	u64 i;

	for (i = 0; i < depth; i++) {
		writer->slots[i].node.next = spare;
		spare = &writer->slots[i].node;
	}
	for (i = writer->index; i < load->count; i += load->writers) {
		struct slot *slot;

		if (!spare) {
			struct llist_node *node;

			wait_event(writer->wait, !llist_empty(&writer->ended));
			spare = llist_del_all(&writer->ended);
			for (node = spare; node; node = node->next)
				under_way--;
		}
		slot = llist_entry(spare, struct slot, node);
		spare = spare->next;
		send_one(writer, slot, i);
		under_way++;
		if (load->op != LOAD_SYNC)
			continue;
		wait_event(writer->wait, !llist_empty(&writer->ended));
		spare = llist_del_all(&writer->ended);
		under_way = 0;
		if (blkdev_issue_flush(load->bdev))
			atomic_inc(&load->failed);
	}
	while (under_way) {
		struct llist_node *node;

		wait_event(writer->wait, !llist_empty(&writer->ended));
		for (node = llist_del_all(&writer->ended); node; node = node->next)
			under_way--;
	}
}

static int writer_thread(void *data)
{
	struct writer *writer = data;
	struct load *load = writer->load;

	run_writer(writer);
	if (atomic_dec_and_test(&load->running))
		complete(&load->done);
	return 0;
}

static void free_writer(struct writer *writer, struct load *load)
{
	unsigned int order = get_order(load->sectors << SECTOR_SHIFT);
	unsigned int i;

	if (!writer->slots)
		return;
	for (i = 0; i < load->depth; i++) {
		if (writer->slots[i].page)
			__free_pages(writer->slots[i].page, order);
	}
	kvfree(writer->slots);
}

static int init_writer(struct writer *writer, struct load *load, unsigned int index)
{
	unsigned int order = get_order(load->sectors << SECTOR_SHIFT);
	unsigned int i;

	writer->load = load;
	writer->index = index;
	init_llist_head(&writer->ended);
	init_waitqueue_head(&writer->wait);
	writer->slots = kvzalloc_objs(*writer->slots, load->depth);
	if (!writer->slots)
		return -ENOMEM;
	for (i = 0; i < load->depth; i++) {
		writer->slots[i].writer = writer;
		writer->slots[i].page = alloc_pages(GFP_KERNEL | __GFP_ZERO, order);
		if (!writer->slots[i].page)
			return -ENOMEM;
		/* Data that is not all zeroes. */
		memset(page_address(writer->slots[i].page), 0x5a, load->sectors << SECTOR_SHIFT);
	}
	return 0;
}

static int run_writers(struct load *load, struct writer *writers)
{
	unsigned int i;
	u64 begin;

	for (i = 0; i < load->writers; i++) {
		int ret = init_writer(&writers[i], load, i);

		if (ret)
			return ret;
	}
	atomic_set(&load->running, load->writers);
	init_completion(&load->done);
	begin = ktime_get_ns();
	for (i = 0; i < load->writers; i++) {
		struct task_struct *task;

		task = kthread_run(writer_thread, &writers[i], "svol_load/%u", i);
		if (IS_ERR(task)) {
			/* What this one would have done is missing. */
			atomic_inc(&load->failed);
			if (atomic_dec_and_test(&load->running))
				complete(&load->done);
		}
	}
	wait_for_completion(&load->done);
	if (load->op == LOAD_SETTLE && blkdev_issue_flush(load->bdev))
		atomic_inc(&load->failed);
	last_ns = ktime_get_ns() - begin;
	last_failed = atomic_read(&load->failed);
	return 0;
}

static int run_load(struct load *load)
{
	blk_mode_t mode = BLK_OPEN_READ;
	struct writer *writers;
	struct file *file;
	unsigned int i;
	int ret;

	if (load->op != LOAD_READ)
		mode |= BLK_OPEN_WRITE;
	file = bdev_file_open_by_path(load->path, mode, NULL, NULL);
	if (IS_ERR(file))
		return PTR_ERR(file);
	load->bdev = file_bdev(file);
	ret = -ENOMEM;
	writers = kzalloc_objs(*writers, load->writers);
	if (writers) {
		ret = run_writers(load, writers);
		for (i = 0; i < load->writers; i++)
			free_writer(&writers[i], load);
		kfree(writers);
	}
	fput(file);
	return ret;
}

static int run_set(const char *line, const struct kernel_param *kp)
{
	char op[8], order[8];
	struct load *load;
	int ret;

	load = kzalloc_obj(*load);
	if (!load)
		return -ENOMEM;
	ret = -EINVAL;
	if (sscanf(line, "%127s %7s %7s %u %llu %llu %llu %llu %llu %u %u", load->path, op, order,
		   &load->sectors, &load->begin, &load->stride, &load->places, &load->first,
		   &load->count, &load->writers, &load->depth) != 11)
		goto out;
	ret = match_string(op_names, ARRAY_SIZE(op_names), op);
	if (ret < 0)
		goto out;
	load->op = ret;
	load->is_random = !strcmp(order, "rand");
	ret = -EINVAL;
	if (!load->sectors || load->sectors > MAX_SECTORS || !load->writers ||
	    load->writers > MAX_WRITERS || !load->depth || load->depth > MAX_DEPTH ||
	    !load->places ||
	    (load->is_random && !is_power_of_2(load->places)))
		goto out;
	ret = run_load(load);
out:
	kfree(load);
	return ret;
}

static int result_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%llu %d\n", last_ns, last_failed);
}

static const struct kernel_param_ops run_ops = { .set = run_set };
static const struct kernel_param_ops result_ops = { .get = result_get };

module_param_cb(run, &run_ops, NULL, 0200);
MODULE_PARM_DESC(run, "load to run");
module_param_cb(result, &result_ops, NULL, 0400);
MODULE_PARM_DESC(result, "nanoseconds and failed I/Os of the last run");

MODULE_DESCRIPTION("Load generator for the measurements of dm-svol");
MODULE_LICENSE("GPL");
