"""The filter of system calls: its numbers by the kernel's headers, and what it does, each time in another process."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from gatepost.node import system_calls
from gatepost.node.system_calls import deny_system_calls, is_filter_known

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
needs_filter = pytest.mark.skipif(not is_filter_known(), reason="no filter for this architecture")
libc = ctypes.CDLL(None, use_errno=True)


def call(*words):
    """The errno of a system call; 0 if it worked."""
    return ctypes.get_errno() if libc.syscall(*words) < 0 else 0


def number(name):
    machine = system_calls._MACHINES[os.uname().machine]
    return machine.numbers[system_calls._DENIED.index(name)]


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_those_of_the_kernel(machine):
    known = system_calls._MACHINES[machine]
    assert len(known.numbers) == len(system_calls._DENIED)
    if not HEADERS[machine].exists():
        pytest.skip(f"{HEADERS[machine]} is not there (Debian: linux-libc-dev)")
    lines = HEADERS[machine].read_text()
    there = {name: int(value) for name, value in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", lines)}
    names = [*system_calls._DENIED, "execve", "execveat", "clone", "clone3"]
    numbers = [*known.numbers, *known.execute, known.clone, system_calls._CLONE3]
    absent = {"iopl", "ioperm"} if machine == "aarch64" else set()
    assert {
        name: value for name, value in zip(names, numbers, strict=True) if there.get(name) != value
    } == dict.fromkeys(absent, system_calls._NONE)


@needs_filter
@pytest.mark.parametrize("name", system_calls._DENIED)
def test_each_is_denied(forked, name):
    if number(name) == system_calls._NONE:
        pytest.skip("this architecture has no such call")

    def work():
        deny_system_calls(execute=True)
        return call(number(name), -1, -1, -1, -1, -1, -1)

    assert forked(work) == errno.EPERM


@needs_filter
@pytest.mark.parametrize("execute", [True, False])
def test_programs_start_only_where_they_may(forked, execute):
    def work():
        deny_system_calls(execute=execute)
        try:
            return subprocess.run(["/bin/true"], check=True).returncode
        except PermissionError:
            return "denied"

    assert forked(work) == (0 if execute else "denied")


@needs_filter
def test_a_program_in_memory_is_none_either(forked):
    def work():
        deny_system_calls(execute=False)
        file = os.memfd_create("program")
        os.write(file, Path("/bin/true").read_bytes())
        os.execve(file, ["true"], {})  # noqa: S606 - that is the question

    assert forked(work) == errno.EPERM


@needs_filter
def test_namespaces_are_denied_and_threads_and_processes_are_not(forked):
    def work():
        deny_system_calls(execute=False)
        machine = system_calls._MACHINES[os.uname().machine]
        results = [call(machine.clone, 0x10000000, 0, 0, 0, 0), call(system_calls._CLONE3, 0, 0)]
        thread = threading.Thread(target=results.append, args=["thread"])
        thread.start()
        thread.join()
        child = os.fork()
        if child == 0:
            os._exit(call(number("ptrace"), 16, 1, 0, 0) == errno.EPERM)
        return [*results, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]

    assert forked(work) == [errno.EPERM, errno.ENOSYS, "thread", 1]


@needs_filter
def test_the_second_set_of_numbers_is_no_way_round(forked):
    if os.uname().machine != "x86_64":
        pytest.skip("only x86-64 has one")

    def work():
        deny_system_calls(execute=False)
        return call(system_calls._X32 | 101, 16, 1, 0, 0)

    assert forked(work) == errno.EPERM


def test_a_call_of_another_architecture_is_refused():
    """The filter as the kernel runs it, as nothing here can make such a call."""
    for machine in system_calls._MACHINES.values():
        code = system_calls._filter(machine, execute=False)
        assert run_filter(code, machine.architecture, 0) == system_calls._ALLOW
        assert run_filter(code, 0x40000003, 0) == system_calls._ERROR | errno.EPERM  # i386
        assert run_filter(code, machine.architecture, machine.clone) == system_calls._ALLOW
        assert run_filter(code, machine.architecture, machine.clone, 0x10000000) == system_calls._ERROR | errno.EPERM
        assert run_filter(code, machine.architecture, machine.execute[0]) == system_calls._ERROR | errno.EPERM
        assert run_filter(system_calls._filter(machine, execute=True), machine.architecture, machine.execute[0]) == (
            system_calls._ALLOW
        )


def run_filter(code, architecture, number, argument=0):
    """What classic BPF returns: the five instructions that are used."""
    lines = [
        (
            int.from_bytes(code[at : at + 2], "little"),
            *code[at + 2 : at + 4],
            int.from_bytes(code[at + 4 : at + 8], "little"),
        )
        for at in range(0, len(code), 8)
    ]
    data = {
        system_calls._ARCHITECTURE: architecture,
        system_calls._NUMBER: number,
        system_calls._FIRST_ARGUMENT: argument,
    }
    held, at = 0, 0
    while True:
        kind, yes, no, value = lines[at]
        at += 1
        if kind == system_calls._RETURN:
            return value
        if kind == system_calls._LOAD:
            held = data[value]
            continue
        holds = {
            system_calls._EQUAL: held == value,
            system_calls._AT_LEAST: held >= value,
            system_calls._ANY_BIT: bool(held & value),
        }[kind]
        at += yes if holds else no


def test_a_kernel_without_filters_is_said(monkeypatch, forked):
    if not is_filter_known():
        pytest.skip("no filter for this architecture")

    class Without:
        @staticmethod
        def prctl(*_):
            ctypes.set_errno(errno.EINVAL)
            return -1

    def work():
        monkeypatch.setattr(system_calls, "_libc", Without)
        deny_system_calls(execute=False)

    assert forked(work) == errno.EINVAL
