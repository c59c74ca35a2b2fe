"""Let the disk fill up at a random byte of what a command writes: it must say so, and go on once there is space.

The disk is a file system in memory that only this process and its children see; it needs Linux and ``unshare``.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.attack import kills, processes
from benchmarks.attack.scene import Scene
from benchmarks.attack.tally import Budget, Tally

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
INSIDE = "ECHOMAMBA_ATTACK_INSIDE"
LARGE = "64m"
WORDS = ("no space left", "disk")


def enter_namespace() -> bool:
    """Start this program again where it may mount file systems; return whether it runs there."""
    if os.environ.get(INSIDE):
        return True
    if shutil.which("unshare") is None:
        return False
    allowed = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
    if allowed:
        os.environ[INSIDE] = "1"
        os.execvp(NAMESPACE[0], [*NAMESPACE, sys.executable, "-m", "benchmarks.attack", *sys.argv[1:]])
    return False


def attack(scene: Scene, scratch: Path, seed: int, budget: Budget) -> list[Tally]:
    """Give each command disks of random sizes below what it needs."""
    draw = random.Random(seed)
    context = processes.make_context()
    tally = Tally("a full disk is named, nothing is damaged, and with space the command goes on")
    commands = kills.make_commands(scene, scratch)
    needs: dict[int, tuple[dict, int]] = {}
    for index in range(budget.most):
        if budget.over:
            break
        command = commands[index % len(commands)]
        disk = scratch / "disk"
        disk.mkdir(exist_ok=True)
        if index % len(commands) not in needs:
            _mount(disk, LARGE)
            kills._finish(processes.call(context, command.first, disk, scratch / "output.txt"), scratch / "output.txt")
            needs[index % len(commands)] = processes.describe_outcome(disk), _used(disk)
            _unmount(disk)
        expected, used = needs[index % len(commands)]
        size = draw.randrange(16 * 1024, max(used, 17 * 1024))
        _mount(disk, str(size))
        _attack_disk(
            tally, command, context, disk, scratch / "output.txt", expected, f"{command.first[0]} on {size} bytes"
        )
        _unmount(disk)
    return [tally]


def _attack_disk(tally: Tally, command, context, disk: Path, output: Path, expected: dict, example: str) -> None:
    process = processes.call(context, command.first, disk, output)
    process.join(processes.SECONDS_TO_HANG)
    if process.is_alive():
        process.kill()
        tally.add("hung", example)
        return
    said = output.read_text(errors="replace")
    if process.exitcode != 0 and not any(word in kills._last_line(output).lower() for word in WORDS):
        tally.add("crashed", example, f"the disk is not named: {kills._last_line(output)}")
        return
    if "Traceback" in said:
        tally.add("crashed", example, "it prints a traceback")
        return
    subprocess.run(["mount", "-o", f"remount,size={LARGE}", str(disk)], check=True)
    kills._give_again(tally, command, context, disk, output, expected, example)


def _mount(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)], check=True)


def _unmount(disk: Path) -> None:
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _used(disk: Path) -> int:
    space = os.statvfs(disk)
    return (space.f_blocks - space.f_bfree) * space.f_frsize
