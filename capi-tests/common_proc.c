/* Threads and descriptors of this process: see common_proc.h. */
#include "common_proc.h"

#include "common_run.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Calls `count` for each descriptor except that of the listing itself. */
static int each_descriptor(int (*count)(int fd))
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int total = 0;

    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir))
            total += count(atoi(entry->d_name));
    if (dir)
        closedir(dir);
    return total;
}

static int any_descriptor(int fd)
{
    (void)fd;
    return 1;
}

static int would_be_inherited(int fd)
{
    return fd > 2 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

int proc_descriptors(void)
{
    return each_descriptor(any_descriptor);
}

int proc_inheritable(void)
{
    return each_descriptor(would_be_inherited);
}

static void read_status(struct proc_thread *thread)
{
    char path[64], line[256];
    unsigned long long blocked = 0;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/self/task/%d/status", thread->id);
    status = fopen(path, "re");
    while (status && fgets(line, sizeof(line), status)) {
        sscanf(line, "Name: %31s", thread->name);
        if (sscanf(line, "SigBlk: %llx", &blocked) == 1)
            thread->blocked = blocked;
    }
    if (status)
        fclose(status);
}

int proc_threads(struct proc_thread *threads, int max)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        if (count < max) {
            memset(&threads[count], 0, sizeof(threads[count]));
            threads[count].id = atoi(entry->d_name);
            read_status(&threads[count]);
        }
        count++;
    }
    if (dir)
        closedir(dir);
    return count;
}

static char state_of(int id)
{
    char path[64], line[256], state = '?';
    FILE *status;

    snprintf(path, sizeof(path), "/proc/self/task/%d/status", id);
    status = fopen(path, "re");
    while (status && fgets(line, sizeof(line), status))
        if (sscanf(line, "State: %c", &state) == 1)
            break;
    if (status)
        fclose(status);
    return state;
}

int proc_asleep(int id, int seconds)
{
    int64_t until = now_ms() + seconds * 1000;
    int seen = 0;

    while (seen < 10 && now_ms() < until) {
        seen += state_of(id) == 'S';
        sleep_ms(1);
    }
    return seen == 10;
}

int proc_threads_settle(int threads, int seconds)
{
    int64_t end = now_ms() + seconds * 1000;
    int count = proc_threads(NULL, 0);

    while (count > threads && now_ms() < end) {
        sleep_ms(50);
        count = proc_threads(NULL, 0);
    }
    return count;
}
