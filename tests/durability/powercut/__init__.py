"""Power cuts: everything the station acknowledged is still there after one. Promise P1.

One run of the station is recorded at the level of system calls. From the recording, the disk
images that a power cut may leave at each moment are computed, and the station is booted from them:

    session  -> the recorded program: a station that sells, is killed, delivers, archives, erases
    syscalls -> every file system call of the session, by ptrace
    recording-> the list of writes, resizes, names and syncs, with the session's own reports
    disk     -> a model of a disk: which images a cut at a moment may leave
    reference-> what the journal of such an image must contain and may contain
    boot     -> opens an image, compares it with the reference, and finishes the session
    sweep    -> does that for many moments and images, and counts
    faults   -> programs and disks with one fault each, which a sweep must detect
"""
