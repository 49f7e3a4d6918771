"""Sees what is written to any disk, even for a moment: reads each file when it is written to, and looks for texts in it.

disk_watch.py NEEDLES: a file with a text a line, itself in memory. Prints `ready`, then a line for each file that holds one; ends
when standard input ends, with `looked N`. Linux, root. Files below folders named `target` are left out: builds go on beside.
"""
import ctypes, os, select, struct, sys

FAN_CLOEXEC, FAN_NONBLOCK, FAN_UNLIMITED_QUEUE, FAN_UNLIMITED_MARKS = 1, 2, 0x10, 0x20
FAN_MARK_ADD, FAN_MARK_FILESYSTEM = 1, 0x100
FAN_MODIFY, FAN_CLOSE_WRITE, FAN_Q_OVERFLOW = 2, 8, 0x4000
AT_FDCWD = -100
LARGEST = 256 << 20
# In memory, or no files at all.
NO_DISK = {
    "tmpfs", "ramfs", "proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue", "debugfs", "tracefs", "bpf", "hugetlbfs",
    "securityfs", "pstore", "configfs", "fusectl", "nsfs", "autofs", "binfmt_misc", "rpc_pipefs", "efivarfs",
}


def disks():
    seen = {}
    for line in open("/proc/self/mountinfo"):
        front, back = line.split(" - ")
        kind = back.split()[0]
        device, at = front.split()[2], front.split()[4]
        if kind not in NO_DISK:
            seen.setdefault(device, at.encode().decode("unicode_escape"))
    return seen.values()


def main():
    needles = [n for n in open(sys.argv[1], "rb").read().split(b"\n") if n]
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.fanotify_init(FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS, os.O_RDONLY | os.O_LARGEFILE)
    if watch < 0:
        sys.exit(f"fanotify_init: {os.strerror(ctypes.get_errno())}")
    marked = 0
    for at in disks():
        mask = ctypes.c_uint64(FAN_MODIFY | FAN_CLOSE_WRITE)
        if libc.fanotify_mark(watch, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask, AT_FDCWD, at.encode()) == 0:
            marked += 1
        else:
            print(f"not watched: {at}: {os.strerror(ctypes.get_errno())}", flush=True)
    if not marked:
        sys.exit("no disk is watched")
    print("ready", flush=True)
    looked, found = 0, set()
    ending = False
    while True:
        ready, _, _ = select.select([watch] if ending else [watch, 0], [], [], 0.3 if ending else None)
        if 0 in ready and not os.read(0, 4096):
            ending = True
        if watch not in ready:
            if ending:
                break
            continue
        try:
            events = os.read(watch, 1 << 16)
        except BlockingIOError:
            continue
        files, at = {}, 0
        while at < len(events):
            length, _, _, _, mask, fd, pid = struct.unpack_from("=IBBHQii", events, at)
            at += length
            if mask & FAN_Q_OVERFLOW:
                sys.exit("events were lost")
            if fd < 0:
                continue
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) in files:
                os.close(fd)
            else:
                files[(status.st_dev, status.st_ino)] = (fd, status.st_size, pid)
        for fd, size, pid in files.values():
            path = os.readlink(f"/proc/self/fd/{fd}")
            if "/target/" not in path and 0 < size <= LARGEST:
                looked += 1
                text = os.pread(fd, size, 0)
                if any(n in text for n in needles):
                    key = path
                    if key not in found:
                        found.add(key)
                        try:
                            name = open(f"/proc/{pid}/comm").read().strip()
                        except OSError:
                            name = "?"
                        print(f"found\t{path}\t{name}", flush=True)
            os.close(fd)
    print(f"looked {looked}", flush=True)


main()
