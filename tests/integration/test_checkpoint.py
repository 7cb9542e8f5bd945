"""`checkpoint`: a store holds whole rounds, whenever the program is killed."""

import ast
import contextlib
import os
import random
import signal
import socket
import threading
import time

import pytest

import memprof
from memprof.errors import AgentActive, StoreError, UsageError
from memprof.models import model_builder
from memprof.storage.disk_records import DiskRecords
from memprof.upstream.numpy_agent import Agent
from tests.conftest import ROOT

ARGUMENTS = model_builder({"kind": "grid_world", "size": 3}, str(ROOT))(0).arguments
AGENTS, KILLS = 12, 12


class Walker(Agent):
    """An agent that counts the rounds that it has lived, and takes up a varying number of pages."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.rounds, self.seen = 0, []

    def live(self):
        self.rounds += 1
        self.seen = [self.rounds * 37 % 251] * (self.rounds * 997 % 3000)


def walkers(count=AGENTS):
    return (Walker(**ARGUMENTS) for _ in range(count))


@pytest.fixture
def store(tmp_path):
    """Agents that have lived a round, and a checkpoint of it."""
    folder = tmp_path / "store"
    with memprof.optimize(walkers(), ["history", "mmap"], store=folder) as population:
        live(population)
        population.checkpoint()
    return folder


def live(population, stop_after=None):
    """A round: the oldest agent makes way for a new one that has lived as long; then all live."""
    oldest, newcomer = present_in(population)[0], Walker(**ARGUMENTS)
    with population.activate(oldest) as agent:
        newcomer.rounds = agent.rounds
    population.add(newcomer)
    population.remove(oldest)
    for index in present_in(population)[:stop_after]:
        with population.activate(index) as agent:
            agent.live()


def present_in(population):
    return sorted(population.in_turn())


def found(folder, **options):
    """How many rounds the agents in a store have lived, which are there, and whether what they have
    seen goes with that."""
    with memprof.reopen(folder, Walker, **options) as population:
        rounds = {}
        for index in present_in(population):
            with population.activate(index) as agent:
                rounds[index] = agent.rounds
                assert not agent.seen or set(agent.seen) == {agent.rounds * 37 % 251}
        assert len(population) == len(rounds)
        return rounds


def whole(rounds):
    """The one round that all agents have lived, which says which they are."""
    (lived,) = {*rounds.values()}
    assert [*rounds] == [*range(lived, lived + AGENTS)]
    return lived


def killed(folder, seconds, *, checkpoints=True, stop_after=None, **options):
    """Go on in another process until it is killed; the number of the last round it announced."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            population = memprof.reopen(folder, Walker, **options)
            while True:
                live(population, stop_after)
                if stop_after is not None:
                    population.flush()
                    os.write(writing, b"mid")
                    signal.pause()
                if checkpoints:
                    population.checkpoint()
                with population.activate(present_in(population)[0]) as agent:
                    os.write(writing, f"{agent.rounds}\n".encode())
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as announced:
        first = announced.read(3) if stop_after is not None else announced.readline()
        assert first
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        later = announced.read().split(b"\n")[:-1]  # without what was cut short
        return 0 if stop_after is not None else int([first, *later][-1])


@pytest.mark.parametrize("options", [{}, {"working_set": "64 KiB"}])
def test_a_process_killed_at_any_moment_leaves_a_whole_round(store, options):
    seconds = random.Random(0)
    before = whole(found(store))
    for _ in range(KILLS // 2):
        announced = killed(store, seconds.uniform(0, 0.06), **options)
        assert whole(found(store, readonly=True)) in (announced, announced + 1)
        now = whole(found(store))
        assert now in (announced, announced + 1)
        assert now > before
        before = now


def test_without_a_checkpoint_the_same_death_leaves_a_mixture(tmp_path, store):
    """So the kill in the middle of a round is one that a checkpoint has to withstand."""
    plain = tmp_path / "plain"
    with memprof.optimize(walkers(), ["history", "mmap"], store=plain) as population:
        live(population)
    killed(plain, 0, stop_after=AGENTS // 2)
    assert {*found(plain).values()} == {1, 2}
    killed(store, 0, stop_after=AGENTS // 2)
    assert whole(found(store, readonly=True)) == 1
    assert whole(found(store)) == 1


def reader_of(folder):
    """A function that asks another process, which has the store open to read, for the number of
    agents, the first of them and the rounds that they have lived."""
    here, there = socket.socketpair()
    if os.fork() == 0:
        try:
            here.close()
            there.recv(1)
            population = memprof.reopen(folder, Walker, readonly=True)
            while True:
                present, rounds = present_in(population), set()
                for index in present:
                    with population.activate(index) as agent:
                        rounds.add(agent.rounds)
                there.send(repr((len(population), present[0], *rounds)).encode())
                if not there.recv(1):
                    break
        finally:
            os._exit(1)
    there.close()

    def ask():
        here.send(b"?")
        return ast.literal_eval(here.recv(999).decode())

    return here, ask


def test_who_reads_sees_checkpoints_only_even_if_there_was_none_when_he_came(tmp_path):
    store = tmp_path / "store"
    with memprof.optimize(walkers(), ["mmap"], store=store) as population:
        live(population)
    connection, ask = reader_of(store)
    with connection, memprof.reopen(store, Walker) as population:
        assert ask() == (AGENTS, 1, 1)
        population.checkpoint()
        live(population)
        assert ask() == (AGENTS, 1, 1)
        population.checkpoint()
        assert ask() == (AGENTS, 2, 2)
        live(population, stop_after=3)
        assert ask() == (AGENTS, 2, 2)


def test_close_is_a_checkpoint_and_an_exception_is_none(store):
    with memprof.reopen(store, Walker) as population:
        live(population)
    assert whole(found(store)) == 2
    with contextlib.suppress(KeyboardInterrupt), memprof.reopen(store, Walker) as population:
        live(population, stop_after=3)
        raise KeyboardInterrupt
    assert whole(found(store)) == 2
    population = memprof.reopen(store, Walker, working_set="1 MiB")
    live(population, stop_after=3)
    del population  # as at the end of a program that does not close it
    assert whole(found(store)) == 2


def test_a_checkpoint_that_finds_no_room_leaves_the_last_one(store, monkeypatch):
    with memprof.reopen(store, Walker, working_set="1 MiB") as population:
        live(population)
        put = DiskRecords.__setitem__

        def full(self, index, record):
            if index == 7:
                raise StoreError("no room")
            put(self, index, record)

        with monkeypatch.context() as patch:
            patch.setattr(DiskRecords, "__setitem__", full)
            with pytest.raises(StoreError, match="agent 7 could not be stored"):
                population.checkpoint()
            with pytest.raises(StoreError):
                population.checkpoint()
        population.checkpoint()
        live(population, stop_after=3)
        population._end(checkpoint=False)
    assert whole(found(store)) == 2


def test_a_checkpoint_wants_every_agent_at_rest(store):
    with memprof.reopen(store, Walker) as population:
        with (
            population.activate(3),
            pytest.raises(UsageError, match=r"agent 3 is active; leave .* make a checkpoint"),
        ):
            population.checkpoint()
        started, done = threading.Event(), threading.Event()

        def use():
            with population.activate(4):
                started.set()
                done.wait(60)

        other = threading.Thread(target=use)
        other.start()
        started.wait(60)
        with pytest.raises(AgentActive, match="agent 4 is active"):
            population._roster.checkpoint()
        done.set()
        other.join()
        population.checkpoint()


def test_where_there_is_no_store_the_remedy_is_named(tmp_path):
    for passes in ("auto", ["share"], ["mmap"]):
        with (
            memprof.optimize(walkers(1), passes) as population,
            pytest.raises(UsageError, match=r"checkpoint: .* or save\(folder\)"),
        ):
            population.checkpoint()
    with memprof.optimize([], ["mmap"], store=tmp_path / "new") as population:
        with pytest.raises(UsageError, match="add an agent first"):
            population.checkpoint()
        population.add(Walker(**ARGUMENTS))
        population.checkpoint()
    with memprof.reopen(tmp_path / "new", Walker, readonly=True) as population:
        assert len(population) == 1
        with pytest.raises(UsageError, match="readonly=True"):
            population.checkpoint()
