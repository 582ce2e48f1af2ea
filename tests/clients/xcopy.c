/*
 * Copies one LUN to another by EXTENDED COPY with libiscsi's library, as its example iscsi-dd does with -x: designators by
 * INQUIRY, limits by RECEIVE COPY OPERATING PARAMETERS, and then many commands at once, all with list identifier 1 and
 * LIST ID USAGE 10b. Debian has the library, and not the example.
 *
 *     xcopy SOURCE DESTINATION BLOCKS IN-FLIGHT
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

enum { HEADER = 16, CSCD = 32, SEGMENT = 28, LIST = HEADER + 2 * CSCD + SEGMENT };

struct end {
    struct iscsi_context *iscsi;
    int lun;
    uint64_t blocks;
    uint32_t block_size;
    unsigned char cscd[CSCD];
};

struct copy {
    struct end from, to;
    uint64_t at;
    uint32_t step, most, in_flight;
};

static void die(const char *what, struct iscsi_context *iscsi)
{
    fprintf(stderr, "%s: %s\n", what, iscsi ? iscsi_get_error(iscsi) : "");
    exit(1);
}

static struct scsi_task *good(struct scsi_task *task, const char *what, struct iscsi_context *iscsi)
{
    if (task == NULL || task->status != SCSI_STATUS_GOOD)
        die(what, iscsi);
    return task;
}

static void put(unsigned char *at, int bytes, uint64_t value)
{
    while (bytes--) {
        at[bytes] = (unsigned char)value;
        value >>= 8;
    }
}

/* The identification descriptor of a unit: its NAA designator. */
static void describe(struct end *end)
{
    struct scsi_task *task = good(iscsi_inquiry_sync(end->iscsi, end->lun, 1, 0x83, 255), "INQUIRY", end->iscsi);
    struct scsi_inquiry_device_identification *page = scsi_datain_unmarshall(task);
    struct scsi_inquiry_device_designator *found;

    if (page == NULL)
        die("page 83h", NULL);
    for (found = page->designators; found; found = found->next)
        if (found->designator_type == SCSI_DESIGNATOR_TYPE_NAA)
            break;
    if (found == NULL || found->designator_length > 20)
        die("no NAA designator", NULL);
    end->cscd[0] = 0xE4;
    end->cscd[4] = (unsigned char)found->code_set;
    end->cscd[5] = (unsigned char)(found->designator_type | found->association << 4);
    end->cscd[7] = (unsigned char)found->designator_length;
    memcpy(end->cscd + 8, found->designator, (size_t)found->designator_length);
    put(end->cscd + 29, 3, end->block_size);
    scsi_free_scsi_task(task);
}

static void reach(struct end *end, const char *text)
{
    struct iscsi_url *url;
    struct scsi_task *task;
    struct scsi_readcapacity16 *capacity;

    end->iscsi = iscsi_create_context("iqn.2026-11.example:xcopy");
    url = end->iscsi ? iscsi_parse_full_url(end->iscsi, text) : NULL;
    if (url == NULL)
        die("URL", end->iscsi);
    iscsi_set_targetname(end->iscsi, url->target);
    iscsi_set_session_type(end->iscsi, ISCSI_SESSION_NORMAL);
    if (iscsi_full_connect_sync(end->iscsi, url->portal, url->lun) != 0)
        die("login", end->iscsi);
    end->lun = url->lun;
    task = good(iscsi_readcapacity16_sync(end->iscsi, end->lun), "READ CAPACITY(16)", end->iscsi);
    capacity = scsi_datain_unmarshall(task);
    if (capacity == NULL)
        die("capacity", NULL);
    end->blocks = capacity->returned_lba + 1;
    end->block_size = capacity->block_length;
    scsi_free_scsi_task(task);
    describe(end);
    iscsi_destroy_url(url);
}

static void check_limits(const struct copy *copy)
{
    const struct end *from = &copy->from;
    struct scsi_task *task = good(
        iscsi_receive_copy_results_sync(from->iscsi, from->lun, SCSI_COPY_RESULTS_OP_PARAMS, 0, 1024), "limits", from->iscsi);
    struct scsi_copy_results_op_params *limits = scsi_datain_unmarshall(task);

    if (limits == NULL || limits->max_target_desc_count < 2 || limits->max_segment_desc_count < 1 ||
        limits->max_segment_length < copy->step * from->block_size)
        die("the copy manager's limits", NULL);
    scsi_free_scsi_task(task);
}

static void fill(struct copy *copy);

static void done(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
    struct copy *copy = private_data;
    struct scsi_task *task = data;

    if (status != SCSI_STATUS_GOOD) {
        fprintf(stderr, "EXTENDED COPY: status %d, sense key %d, code %04x\n", status, task->sense.key, task->sense.ascq);
        exit(1);
    }
    (void)iscsi;
    copy->in_flight--;
    scsi_free_scsi_task(task);
    fill(copy);
}

static void fill(struct copy *copy)
{
    while (copy->in_flight < copy->most && copy->at < copy->from.blocks) {
        uint64_t left = copy->from.blocks - copy->at;
        uint32_t blocks = left < copy->step ? (uint32_t)left : copy->step;
        unsigned char *list = calloc(1, LIST), *segment = list + HEADER + 2 * CSCD;
        struct iscsi_data data = {.size = LIST, .data = list};

        list[0] = 1;
        list[1] = 2 << 3;
        put(list + 2, 2, 2 * CSCD);
        put(list + 8, 4, SEGMENT);
        memcpy(list + HEADER, copy->from.cscd, CSCD);
        memcpy(list + HEADER + CSCD, copy->to.cscd, CSCD);
        segment[0] = 2;
        put(segment + 2, 2, SEGMENT - 4);
        put(segment + 6, 2, 1);
        put(segment + 10, 2, blocks);
        put(segment + 12, 8, copy->at);
        put(segment + 20, 8, copy->at);
        if (iscsi_extended_copy_task(copy->from.iscsi, copy->from.lun, &data, done, copy) == NULL)
            die("EXTENDED COPY", copy->from.iscsi);
        copy->at += blocks;
        copy->in_flight++;
    }
}

int main(int count, char **words)
{
    static struct copy copy;

    if (count != 5)
        die("four words are needed", NULL);
    copy.step = (uint32_t)atoi(words[3]);
    copy.most = (uint32_t)atoi(words[4]);
    reach(&copy.from, words[1]);
    reach(&copy.to, words[2]);
    check_limits(&copy);
    fill(&copy);
    while (copy.in_flight > 0) {
        struct pollfd wait = {.fd = iscsi_get_fd(copy.from.iscsi), .events = (short)iscsi_which_events(copy.from.iscsi)};

        if (poll(&wait, 1, -1) < 0 || iscsi_service(copy.from.iscsi, wait.revents) < 0)
            die("connection", copy.from.iscsi);
    }
    printf("%llu blocks\n", (unsigned long long)copy.at);
    return 0;
}
