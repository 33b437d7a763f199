/* Simulated unreadable sectors, for any program that preloads this library.

   Each line of the file $BAD_SECTORS is `INODE FIRST END`, in bytes. A read in that range fails
   with EIO, and so does a partial write, for which a disk must read the rest; a mapping of it is
   inaccessible. After a write of the whole range, or one at the end of the file, it is good again,
   as on a disk that reallocates the sector: the inode in the line becomes 0. The list is read at
   every call, so sectors may become bad at any time. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct bad {
    FILE *list;
    ino_t inode;
    off_t size;
    long line, first, end;
};

static int begun(struct bad *bad, int file)
{
    struct stat about;
    const char *name = getenv("BAD_SECTORS");

    if (name == NULL || fstat(file, &about) != 0)
        return 0;
    bad->inode = about.st_ino;
    bad->size = about.st_size;
    bad->list = fopen(name, "r+");
    return bad->list != NULL;
}

/* The next bad range of the file that overlaps this range; 0: there is none. */
static int next(struct bad *bad, off_t at, off_t end)
{
    unsigned long inode;

    do {
        bad->line = ftell(bad->list);
        if (fscanf(bad->list, "%lu %ld %ld ", &inode, &bad->first, &bad->end) != 3) {
            fclose(bad->list);
            return 0;
        }
    } while (inode != bad->inode || bad->end <= at || end <= bad->first);
    return 1;
}

static ssize_t failed(struct bad *bad)
{
    fclose(bad->list);
    errno = EIO;
    return -1;
}

/* Number of readable bytes at `at` before the first bad one, at most `size`; -1: none. */
static ssize_t readable(int file, size_t size, off_t at)
{
    struct bad bad;

    if (!begun(&bad, file))
        return size;
    while (next(&bad, at, at + size)) {
        if (bad.first <= at)
            return failed(&bad);
        size = bad.first - at;
    }
    return size;
}

ssize_t pread64(int file, void *into, size_t size, off64_t at)
{
    ssize_t left = readable(file, size, at);
    return left < 0 ? left : NEXT(pread64)(file, into, left, at);
}

ssize_t pread(int file, void *into, size_t size, off_t at)
{
    return pread64(file, into, size, at);
}

ssize_t read(int file, void *into, size_t size)
{
    off_t at = lseek(file, 0, SEEK_CUR);
    ssize_t left = at < 0 ? (ssize_t)size : readable(file, size, at);
    return left < 0 ? left : NEXT(read)(file, into, left);
}

ssize_t pwrite64(int file, const void *from, size_t size, off64_t at)
{
    struct bad bad;
    off_t end = at + size;

    if (begun(&bad, file))
        while (next(&bad, at, end)) {
            if (bad.first < bad.size && (bad.first < at || end < bad.end))
                return failed(&bad);
            fseek(bad.list, bad.line, SEEK_SET);
            fprintf(bad.list, "%020lu", 0ul);
            fseek(bad.list, bad.line, SEEK_SET);
        }
    return NEXT(pwrite64)(file, from, size, at);
}

ssize_t pwrite(int file, const void *from, size_t size, off_t at)
{
    return pwrite64(file, from, size, at);
}

void *mmap64(void *where, size_t size, int protection, int flags, int file, off64_t at)
{
    char *made = NEXT(mmap64)(where, size, protection, flags, file, at);
    ssize_t left = file < 0 || made == MAP_FAILED ? (ssize_t)size : readable(file, size, at);
    if (left < 0)
        left = 0;
    if (left != (ssize_t)size)
        mprotect(made + left, size - left, PROT_NONE);
    return made;
}

void *mmap(void *where, size_t size, int protection, int flags, int file, off_t at)
{
    return mmap64(where, size, protection, flags, file, at);
}
