import os

from bptt._cpus import available_cores, available_cpus


def test_threads_of_one_core_are_one_core(tmp_path, monkeypatch):
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert (available_cpus(), available_cores(tmp_path)) == (4, 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    assert (available_cpus(), available_cores(tmp_path)) == (2, 1)


def test_where_nothing_tells_every_cpu_counts(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert available_cpus() == os.cpu_count() == available_cores(tmp_path)
