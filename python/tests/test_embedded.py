"""The embedded default: a private server that the first call starts."""

from __future__ import annotations

import http.server
import os
import pickle
import signal
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

import flamepy
import pytest
from flamepy.core import private_place
from flamepy.core.server_program import is_running
from private import User, until

ANNOUNCED = "flamepy: no cache server is configured, so a private one was started"


@pytest.fixture
def user(binary):
    user = User(binary)
    yield user
    user.leave()


def test_the_first_call_starts_a_server_and_says_so_once(user):
    out, err = user.run('ref = put_object("a/b", [1]); print(get_object(ref), ref.endpoint)')
    [line] = err.splitlines()
    assert line.startswith(ANNOUNCED)
    pid = user.server()
    for word in (f"pid {pid}", user.place.socket, user.place.storage, "60s", "FLAME_EMBEDDED=0"):
        assert word in line
    assert out == f"[1] {user.place.endpoint}"

    out, err = user.run('print([i.nbytes > 0 for i in flamepy.list_objects("a/b")])')
    assert out == "[True]"
    assert err == ""
    assert user.server() == pid


def test_it_outlives_its_client_and_ends_when_idle(user):
    user.run('put_object("a/b", 1, name="o")', FLAME_EMBEDDED_IDLE="300ms")
    until(lambda: not user.servers(), "the server has ended")
    assert not os.path.exists(user.place.socket)
    out, err = user.run('print(get_object(flamepy.stat_object("a/b/o").ref))')
    assert out == "1"
    assert err.startswith(ANNOUNCED)


def test_only_its_user_can_reach_it(user):
    user.run('os.umask(0); put_object("a/b", 1)')
    place = user.place
    assert stat.S_IMODE(os.lstat(user.folder).st_mode) == 0o700
    for file in (place.socket, place.log, place.config, place.start_lock):
        assert stat.S_IMODE(os.lstat(file).st_mode) == 0o600, file
    for file in Path(place.storage).rglob("*"):
        assert not os.lstat(file).st_mode & 0o077, file


def test_it_is_detached_from_its_client(user):
    out, _ = user.run(
        """
reader, writer = os.pipe()
os.set_inheritable(writer, True)
put_object("a/b", 1)
print(os.getsid(0), os.getpgid(0))
os.close(writer)
assert os.read(reader, 1) == b""  # Nobody else has its other end.
""",
        SECRET_KEY="secret",
        FLAME_CACHE_SYNC="always",
    )
    pid, proc = user.server(), Path(f"/proc/{user.server()}")
    session, group = map(int, out.split())
    assert os.getsid(pid) not in (session, os.getsid(0))
    assert os.getpgid(pid) not in (group, os.getpgid(0))
    assert os.readlink(proc / "cwd") == "/"
    descriptors = {int(fd.name): os.readlink(fd) for fd in (proc / "fd").iterdir()}
    assert descriptors[0] == "/dev/null"
    assert descriptors[1] == descriptors[2] == user.place.log
    assert not [target for target in descriptors.values() if target.startswith("pipe:")]
    environment = (proc / "environ").read_text()
    assert "SECRET_KEY" not in environment
    assert "FLAME_CACHE_SYNC" not in environment


def test_it_is_no_child_that_a_client_would_have_to_wait_for(user):
    code = """
put_object("a/b", 1)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child")
"""
    assert user.run(code)[0] == "no child"


# Goal: however many processes make their first call at once, one server is started.
# Method: twenty interpreters wait for the same file, then put and get.
def test_twenty_processes_that_race_start_one_server(user):
    code = f"""
go = {str(user.root / "go")!r}
open(go + str(os.getpid()), "x").close()
while not os.path.exists(go):
    time.sleep(0.001)
ref = put_object("a/race", os.getpid())
assert get_object(ref) == os.getpid()
"""
    racers = [user.start(code) for _ in range(20)]
    until(lambda: len(list(user.root.glob("go?*"))) == 20, "all of them are ready", 100)
    (user.root / "go").touch()
    errors = [racer.communicate(timeout=100)[1] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 20, errors
    assert len(user.servers()) == 1
    assert user.starts() == 1
    assert sum(error.count(ANNOUNCED) for error in errors) == 1
    out, _ = user.run('print(sum(1 for _ in flamepy.list_objects("a/race")))')
    assert out == "20"


def test_multiprocessing_children_share_it(user):
    script = user.root / "pool.py"
    script.write_text(
        """
import multiprocessing, flamepy
def work(ref):
    return flamepy.put_object("a/b", flamepy.get_object(ref) + 1)
if __name__ == "__main__":
    ref = flamepy.put_object("a/b", 1)
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(3) as pool:
            refs = pool.map(work, [ref] * 6)
        assert [flamepy.get_object(r) for r in refs] == [2] * 6
"""
    )
    user.run(
        f"import runpy; sys.argv = [{str(script)!r}]; os.execv(sys.executable, "
        f"[sys.executable, {str(script)!r}])"
    )
    assert user.starts() == 1


@pytest.mark.parametrize(
    "call",
    [
        "get_object(ref)",
        'put_object("a/b", 2)',
        'put_object("a/b", 2, name="p")',
        "flamepy.update_object(ref, 2)",
        'flamepy.patch_object(ref, {"more": 1})',
        'flamepy.delete_objects("a/nothing")',
        'list(flamepy.list_objects("a/b"))',
        'flamepy.upload_object("a/b/file", sys.executable)',
    ],
)
def test_after_kill_9_the_next_call_starts_another_and_the_data_is_there(user, call):
    client = user.start(
        f"""
ref = put_object("a/b", [1], name="kept")
print("ready", flush=True)
sys.stdin.readline()
{call}
print(get_object(flamepy.stat_object("a/b/kept").ref))
"""
    )
    assert client.stdout.readline() == "ready\n"
    user.kill()
    out, err = client.communicate("go\n", timeout=100)
    assert client.returncode == 0, err
    assert out.strip() == ("2" if "update" in call else "[1]")
    assert err.count(ANNOUNCED) == 1  # Once, however often it starts one.
    assert user.starts() == 2


def test_forked_children_use_it_too_also_as_the_first(user):
    code = """
child = os.fork()
if child == 0:
    put_object("a/b", 1, name="o")
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
ref = flamepy.stat_object("a/b/o").ref
child = os.fork()
if child == 0:
    os._exit(get_object(ref) + 7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert user.run(code)[0].split() == ["7", "8"]
    assert user.starts() == 1


# Goal: a child that is forked while its parent starts the server does not keep the lock.
def test_a_fork_while_the_server_is_being_started_does_no_harm(user):
    slow = slow_server(user, 1)
    code = f"""
starter = threading.Thread(target=put_object, args=("a/b", 1))
starter.start()
while not os.path.exists({str(user.root / "started")!r}):
    time.sleep(0.001)
child = os.fork()
if child == 0:
    os.closerange(0, 3)  # The test waits for the end of them.
    signal.pause()
starter.join()
print(child)
"""
    out, _ = user.run(code, FLAME_SERVER=str(slow))
    try:
        user.kill()
        assert user.run("print(put_object('a/b', 1).version)")[0] == "1"
    finally:
        os.kill(int(out), signal.SIGKILL)


def slow_server(user: User, seconds: float) -> Path:
    """A program that tells that it was started, and becomes the server after a while."""
    script = user.root / "slow"
    script.write_text(
        f"#!/bin/sh\ntouch {user.root}/started\nsleep {seconds}\n"
        f'exec {user.env["FLAME_SERVER"]} "$@"\n'
    )
    script.chmod(0o700)
    return script


def test_a_client_that_is_killed_while_starting_harms_nobody(user):
    slow = slow_server(user, 1)
    killed = user.start('put_object("a/b", 1)', FLAME_SERVER=str(slow))
    until((user.root / "started").exists, "the server is being started")
    killed.kill()
    killed.communicate()
    out, _ = user.run('print(get_object(put_object("a/b", [1])))')
    assert out == "[1]"
    until(lambda: len(user.servers()) == 1, "one server is left")
    assert user.run('print(get_object(put_object("a/b", [1])))')[0] == "[1]"


# Goal: no call fails because the server has just ended.
# Method: calls at about the pace at which the server gives up, of every kind that may not be repeated.
def test_calls_that_race_the_idle_exit_never_fail(user):
    code = """
import random
seed = int(os.environ.get("FLAME_SEED") or random.randrange(2**32))
print("FLAME_SEED =", seed)
random.seed(seed)
end = time.monotonic() + 8
written = 0
while time.monotonic() < end:
    ref = put_object("a/b", written)
    written += 1
    time.sleep(random.uniform(0.12, 0.18))
    assert get_object(ref) == written - 1
    time.sleep(random.uniform(0.12, 0.18))
    flamepy.update_object(ref, "new")
assert sum(1 for _ in flamepy.list_objects("a/b")) == written, "none was written twice"
"""
    user.run(code, FLAME_EMBEDDED_IDLE="150ms")
    assert user.starts() > 3


def test_a_server_that_ends_before_its_first_call_is_started_again(user):
    """As on a machine that was asleep meanwhile: it has ended before we look."""
    hasty = user.root / "hasty"
    server = user.env["FLAME_SERVER"]
    hasty.write_text(
        f'#!/bin/sh\nif mkdir {user.root}/twice; then set -- "$@" --exit-when-idle 1ms; fi\n'
        f'exec {server} "$@"\n'
    )
    hasty.chmod(0o700)
    assert user.run('print(put_object("a/b", 1).version)', FLAME_SERVER=str(hasty))[0] == "1"
    assert user.starts() == 2
    assert "no call for 1ms" in Path(user.place.log).read_text()


def test_a_pickled_reference_resolves_in_every_process_of_the_user(user):
    path = user.root / "ref"
    user.run(f'pickle.dump(put_object("a/b", [1]), open({str(path)!r}, "wb"))')
    read = f'print(get_object(pickle.load(open({str(path)!r}, "rb"))))'
    assert user.run(read)[0] == "[1]"
    user.kill()
    assert user.run(read)[0] == "[1]"
    # Also in one that has a server of its own for what it puts.
    assert user.run(read, FLAME_CACHE_ENDPOINT="grpc://127.0.0.1:1")[0] == "[1]"


def test_a_reference_of_another_machine_is_a_clear_error(user):
    user.run('put_object("a/b", 1)')
    code = f"""
ref = flamepy.ObjectRef("grpc+unix://{user.folder}/cache-0123456789ab.sock", "a/b/c", 1)
get_object(ref)
"""
    message = user.fails(code)
    assert "Unavailable" in message
    assert "another machine" in message
    assert "FLAME_CACHE_ENDPOINT" in message


def test_another_users_socket_is_a_clear_error(user):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    out, _ = user.run('print(put_object("a/b", 1).endpoint)')
    for folder in (user.root, user.home, user.runtime):  # Not what keeps the other one out.
        folder.chmod(0o755)
    code = f"""
os.setuid(65534)
get_object(flamepy.ObjectRef({out!r}, "a/b/c", 1))
"""
    message = user.fails(code)
    assert "Unavailable" in message
    assert "belongs to another user" in message


@pytest.mark.parametrize("off", ["0", "off"])
def test_it_can_be_turned_off(user, off):
    message = user.fails(at_endpoint(1) + 'put_object("a/b", 1)', FLAME_EMBEDDED=off)
    assert "Unavailable" in message
    assert "127.0.0.1:1" in message
    assert "check the endpoint and that the server runs" in message
    assert not user.servers()


@pytest.mark.parametrize(
    "env",
    [
        {"FLAME_CACHE_ENDPOINT": "grpc://127.0.0.1:1"},
        {"FLAME_ENDPOINT": "http://127.0.0.1:1"},
        {"FLAME_CACHE_STORAGE": "/tmp"},
    ],
)
def test_whoever_has_configured_something_gets_no_private_server(user, env):
    code = at_endpoint(1) + 'put_object("a/b", 1, name="x")'
    assert "Unavailable" in user.fails(code, **env)
    assert not user.folder.exists()


def test_a_configuration_file_is_a_configuration(user):
    (user.home / ".flame").mkdir()
    text = "current-context: c\ncontexts: [{name: c}]"
    (user.home / ".flame/flame.yaml").write_text(text)
    assert "Unavailable" in user.fails(at_endpoint(1) + 'put_object("a/b", 1)')
    assert not user.folder.exists()


def at_endpoint(port: int) -> str:
    """Code that moves the default endpoint away from 9090, where anything may be."""
    return f"""
context.DEFAULT_FLAME_CACHE_ENDPOINT = "grpc://127.0.0.1:{port}"
embedded.DEFAULT_FLAME_CACHE_ENDPOINT = "grpc://127.0.0.1:{port}"
"""


def test_a_server_at_the_default_endpoint_is_used_instead(user, start_server):
    server = start_server()
    code = at_endpoint(int(server.endpoint.rpartition(":")[2])) + 'ref = put_object("a/b", 1)\n'
    out, err = user.run(code + "print(ref.endpoint)", FLAME_EMBEDDED=None)
    assert out == server.endpoint
    assert err == ""
    assert not user.folder.exists()


def test_when_that_server_ends_a_private_one_takes_over(user, start_server):
    server = start_server()
    code = f"""
put_object("a/b", 1)
os.kill({server.process.pid}, signal.SIGKILL)
try:
    put_object("a/b", 1)
except flamepy.Unavailable:
    pass
print(put_object("a/b", 1).endpoint)
"""
    code = at_endpoint(int(server.endpoint.rpartition(":")[2])) + code
    out, _ = user.run(code, FLAME_EMBEDDED=None)
    assert out == user.place.endpoint


def test_another_program_at_the_default_endpoint_is_not_taken_for_one(user):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        code = at_endpoint(other.server_port) + 'print(put_object("a/b", 1).endpoint)'
        out, _ = user.run(code, FLAME_EMBEDDED=None)
        other.shutdown()
    assert out == user.place.endpoint


def test_a_home_that_cannot_be_written_to_is_a_clear_error(user):
    message = user.fails('put_object("a/b", 1)', XDG_DATA_HOME="/proc/none")
    assert "Unavailable" in message
    assert "cannot start a private cache server" in message
    assert "/proc/none" in message
    assert "FLAME_CACHE_ENDPOINT" in message


def test_a_storage_that_another_server_uses_is_a_clear_error(user, start_server):
    storage = user.home / ".local/share/flame/cache"
    start_server(f"fs://{storage}")
    message = user.fails('embedded.CHANGE_SECONDS = 0.5; put_object("a/b", 1)')
    assert "Unavailable" in message
    assert "another server" in message
    assert not user.servers()


def test_without_a_program_the_error_says_what_to_install(user):
    env = {"FLAME_SERVER": None, "PATH": "/nonexistent"}
    message = user.fails('put_object("a/b", 1)', **env)
    assert "Unavailable" in message
    assert "pip install flamepy-server" in message


def test_the_program_is_found_on_the_path(user):
    program = Path(user.env["FLAME_SERVER"])
    (user.root / "bin").mkdir()
    (user.root / "bin/flame-object-cache").symlink_to(program)
    user.run('put_object("a/b", 1)', FLAME_SERVER=None, PATH=f"{user.root}/bin:/usr/bin:/bin")
    assert len(user.servers()) == 1


def test_the_program_of_the_distribution_comes_before_the_path(user):
    programs = user.root / "site/flamepy_server/bin"
    programs.mkdir(parents=True)
    programs.joinpath("flame-object-cache").symlink_to(user.env["FLAME_SERVER"])
    programs.parent.joinpath("__init__.py").write_text(f"PROGRAMS = {str(programs)!r}")
    path = f"{user.env['PYTHONPATH']}:{user.root}/site"
    user.run('put_object("a/b", 1)', FLAME_SERVER=None, PATH="/usr/bin:/bin", PYTHONPATH=path)
    assert len(user.servers()) == 1


@pytest.mark.parametrize(
    ("variable", "value"), [("FLAME_SERVER", "/nonexistent"), ("FLAME_EMBEDDED_IDLE", "soon")]
)
def test_a_senseless_setting_is_an_error_that_names_it(user, variable, value):
    message = user.fails('put_object("a/b", 1)', **{variable: value})
    assert "InvalidConfig" in message
    assert f"{variable} is " in message


def test_the_log_stays_small(user):
    user.run('put_object("a/b", 1)')
    log = Path(user.place.log)
    for size in (2 << 20, 3 << 20):
        with open(log, "a") as file:
            file.write("x" * size)
        user.run('put_object("a/b", 1)')
        assert log.stat().st_size < 64 << 10
        assert Path(f"{log}.1").stat().st_size == 64 << 10


class TestFolder:
    """The folder of the socket: nobody else may have had a hand in it."""

    def test_a_link_is_refused(self, user):
        (user.root / "elsewhere").mkdir(mode=0o700)
        user.folder.symlink_to(user.root / "elsewhere")
        message = user.fails('put_object("a/b", 1)')
        assert "InvalidConfig" in message
        assert "it is no folder" in message
        assert not list((user.root / "elsewhere").iterdir())

    def test_another_users_is_refused(self, user):
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        user.folder.mkdir(mode=0o700)
        os.chown(user.folder, 12345, 12345)
        assert "it belongs to the user 12345" in user.fails('put_object("a/b", 1)')

    def test_one_that_others_could_write_to_is_refused(self, user):
        user.folder.mkdir()
        user.folder.chmod(0o770)
        assert "others may write to it" in user.fails('put_object("a/b", 1)')

    def test_one_that_others_could_read_is_closed(self, user):
        user.folder.mkdir()
        user.folder.chmod(0o755)
        user.run('put_object("a/b", 1)')
        assert stat.S_IMODE(os.lstat(user.folder).st_mode) == 0o700

    def test_one_that_everybody_could_replace_is_refused(self, user):
        user.root.chmod(0o777)
        with pytest.raises(flamepy.InvalidConfig, match="everybody may replace it"):
            private_place.make_private_folder(f"{user.root}/flame-1")

    def test_one_in_a_sticky_folder_is_not(self, user):
        user.root.chmod(0o1777)
        private_place.make_private_folder(f"{user.root}/flame-1")

    def test_links_in_place_of_its_files_are_not_followed(self, user):
        user.run('put_object("a/b", 1)')
        user.kill()
        target = user.root / "target"
        for name in (user.place.start_lock, user.place.socket):
            os.unlink(name)
            os.symlink(target, name)
            user.fails('put_object("a/b", 1)')
            os.unlink(name)
        assert not target.exists()


class TestPlace:
    """Names: the same for all who would store in the same folder, and for nobody else."""

    @pytest.fixture
    def runtime(self):
        with tempfile.TemporaryDirectory(prefix="flame-", dir="/tmp") as folder:
            yield folder

    @pytest.fixture
    def names(self, tmp_path, runtime):
        def names(uid=None, runtime=runtime, data="", home=str(tmp_path)):
            uid = os.geteuid() if uid is None else uid
            return private_place._place(uid, runtime, data, home, "")

        private_place._place.cache_clear()
        yield names
        private_place._place.cache_clear()

    def test_the_runtime_folder_is_where_it_is(self, names, runtime):
        assert names().folder == f"{runtime}/flame"

    def test_the_runtime_folder_does_not_matter_to_the_name(self, names):
        assert names().name == names(runtime="/elsewhere").name

    def test_storage_and_user_do(self, names):
        assert len({names().name, names(data="/data").name, names(uid=2).name}) == 3

    def test_a_link_to_the_same_storage_is_the_same(self, names, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        real, link = names(data=f"{tmp_path}/real"), names(data=f"{tmp_path}/link")
        assert real == link

    def test_the_machine_does(self, names, monkeypatch):
        here = names().name
        private_place._place.cache_clear()
        monkeypatch.setattr(private_place, "_machine", lambda: "another one")
        assert names().name != here

    @pytest.mark.parametrize("name", ["a" * 100, "my folder"])
    def test_a_folder_that_cannot_hold_a_socket_is_not_taken(self, names, runtime, name):
        folder = Path(runtime, name)
        folder.mkdir(mode=0o700)
        found = names(runtime=str(folder))
        assert name not in found.folder
        assert len(found.socket) <= 107

    @pytest.mark.parametrize("mode", [0o777, 0o770])
    def test_a_runtime_folder_that_others_can_write_to_is_not_taken(self, names, runtime, mode):
        os.chmod(runtime, mode)
        assert not names().folder.startswith(runtime)

    def test_nor_one_that_is_not_there_or_another_users(self, names, runtime):
        for folder in ("/nonexistent", "relative", ""):
            assert names(runtime=folder).folder == names(runtime="/another").folder
        if os.geteuid() == 0:
            os.chown(runtime, 12345, -1)
            assert not names().folder.startswith(runtime)

    def test_the_storage_is_the_one_that_a_server_without_settings_has(self, user):
        printed = subprocess.run(
            [user.env["FLAME_SERVER"], "--print-config"],
            env={"HOME": str(user.home)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        user.run('put_object("a/b", 1)')
        assert f"storage: fs://{user.place.storage} " in printed
        assert Path(user.place.storage).is_dir()


def test_what_is_pickled_is_the_same_reference():
    ref = flamepy.ObjectRef("grpc+unix:///run/user/1/flame/cache-0.sock", "a/b/c", 1)
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert flamepy.ObjectRef.decode(ref.encode()) == ref


def test_a_process_that_waits_to_be_reaped_is_not_running():
    child = os.fork()
    if child == 0:
        os._exit(0)
    until(lambda: not is_running(child), "it is seen to be dead")
    os.waitpid(child, 0)
    assert not is_running(child)
    assert is_running(os.getpid())
