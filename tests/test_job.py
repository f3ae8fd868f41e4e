"""Job directories: where a ledger may live."""

from pathlib import Path

import pytest

from batchbanana.job import NETWORK, file_system

MOUNTS = """/dev/vda / ext4 rw 0 0
server:/x /mnt/nas nfs4 rw 0 0
tmpfs /mnt/nas/fast tmpfs rw 0 0
//server/y /mnt/my\\040share cifs rw 0 0
overlay /late ext4 rw 0 0
server:/z /late nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/out", "ext4"),
        ("/mnt/nas/out", "nfs4"),
        ("/mnt/nas/fast/out", "tmpfs"),
        ("/mnt/nasty", "ext4"),
        ("/mnt/my share/out", "cifs"),
        ("/late/out", "nfs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_its_nearest_mount(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_network_file_systems_are_known_and_local_ones_are_not_taken_for_them() -> None:
    assert {"nfs", "nfs4", "cifs"} <= NETWORK
    assert not NETWORK & {"ext4", "tmpfs", "xfs", "btrfs", "overlay", "9p"}
