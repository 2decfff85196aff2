"""Make `.venv` and put into it what the requirement files pin, then the gateway itself.

Usage: python bootstrap.py [test | bench | lock]: a file in requirements/

It runs before anything is installed, on whatever `python3` the machine has: standard library
only, and no syntax newer than 3.6, so that an old Python can still say what is missing.

A stamp in the environment holds the digest of everything that decides its content; when it
matches, nothing is done. A lock beside the environment lets several `make` run at once.
VENV names another folder, PYTHON the interpreter to make it from.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time

OLDEST = (3, 11)
CANDIDATES = ["python3.11", "python3.12", "python3.13", "python3.14"]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, os.environ.get("VENV") or ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
# "Collecting name==1.0 (from …)" from an index, "Processing /path/name-1.0-….whl" from a folder.
PACKAGE = re.compile(r"Collecting (\S+==[^\s;]+)|Processing (?:\S*/)?([^/\s-]+-[^/\s-]+)-\S+\.whl")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def say(text):
    print("install: " + text, flush=True)


def fail(text):
    sys.exit("install: " + text)


def succeeds(*command):
    """Whether a command can be run and exits 0."""
    try:
        return subprocess.call(list(command), stdin=subprocess.DEVNULL, **QUIET) == 0
    except OSError:
        return False


def version_of(python):
    """(major, minor) of an interpreter, None where it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        out = subprocess.check_output([python, "-c", code], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = out.decode().strip().split(".")
    return int(major), int(minor)


def dotted(version):
    return ".".join(map(str, version))


def choose_python():
    """The interpreter to build on: PYTHON, else the one that runs this, else a newer one."""
    asked = os.environ.get("PYTHON")
    if asked:
        found = version_of(asked)
        if found is None:
            fail(f"PYTHON={asked} does not run")
        if found < OLDEST:
            fail(f"PYTHON={asked} is {dotted(found)}; 3.11 or newer is needed")
        return asked
    if sys.version_info[:2] >= OLDEST:
        return sys.executable
    for name in CANDIDATES:
        if (version_of(name) or (0, 0)) >= OLDEST:
            return name
    return fail(
        f"Python 3.11 or newer is needed, python3 is {dotted(sys.version_info[:2])}. Install one "
        "and name it: make PYTHON=/path/to/python3.11 install"
    )


def requirement_file(name):
    return os.path.join(ROOT, "requirements", name + ".txt")


def digest_of(files):
    """What decides the environment: its place, its Python, the pins, the package's metadata."""
    digest = hashlib.sha256(repr((VENV, version_of(VENV_PYTHON))).encode())
    for path in [*files, os.path.join(ROOT, "pyproject.toml"), os.path.join(ROOT, "setup.cfg")]:
        with open(path, "rb") as file:
            digest.update(file.read() + b"\0")
    return digest.hexdigest()


def usable():
    """Whether the environment runs and is this tree's: a half-made or a copied one is not."""
    code = "import pip, sys; assert sys.prefix == sys.argv[1], sys.prefix"
    if not succeeds(VENV_PYTHON, "-I", "-c", code, VENV):
        return False
    script = os.path.join(VENV, "bin", "pip")
    if not os.path.exists(script):
        return True
    # Scripts name their interpreter by its full path, which a copied tree leaves behind.
    with open(script, "rb") as file:
        return VENV.encode() in file.read(1024)


def venv_with_ensurepip(python):
    succeeds(python, "-m", "venv", "--clear", VENV)


def venv_with_borrowed_pip(python):
    succeeds(python, "-m", "venv", "--clear", "--without-pip", VENV)
    pip = [python, "-m", "pip", "--python", VENV_PYTHON, "install", "--require-hashes"]
    succeeds(*pip, "-r", requirement_file("build"))


def venv_with_virtualenv(python):
    succeeds("virtualenv", "-p", python, VENV) or succeeds(python, "-m", "virtualenv", VENV)


def venv_with_apt(python):
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    # Debian takes ensurepip out of Python; python3.11's is in python3.11-venv.
    package = f"python{dotted(version_of(python))}-venv"
    say(f"no ensurepip here: apt-get install {package}")
    environ = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", package]
    for command in (["apt-get", "-qq", "update"], install):
        subprocess.call(command, env=environ, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    venv_with_ensurepip(python)


def make_venv(python):
    """Try the ways of making an environment with pip in it, the plainest first."""
    say(f"making {VENV} with Python {dotted(version_of(python))}")
    for way in (venv_with_ensurepip, venv_with_borrowed_pip, venv_with_virtualenv, venv_with_apt):
        way(python)
        if usable():
            return
    fail(
        f"{python} cannot make a virtual environment with pip in it. On Debian and Ubuntu: "
        f"apt-get install python{dotted(version_of(python))}-venv"
    )


def pip_install(arguments, expected):
    """Run pip in the environment; a line for each package, everything else only on failure."""
    pip = [VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    running = subprocess.Popen(
        [*pip, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ, PIP_ROOT_USER_ACTION="ignore", PYTHONUNBUFFERED="1"),
    )
    lines = []
    count = 0
    for raw in running.stdout:
        line = raw.decode("utf-8", "replace").rstrip()
        lines.append(line)
        package = PACKAGE.match(line)
        if expected and package:
            count += 1
            say(f"[{count}/{expected}] {package.group(1) or package.group(2)}")
        if expected and line.startswith("Installing collected packages"):
            commas = line.count(",")
            say(f"unpacking {commas + 1} packages")
    if running.wait() != 0:
        sys.stderr.write("\n".join(lines[-40:]) + "\n")
        fail("pip failed, its last lines are above")


def install(files):
    # pip first and alone: the pinned one takes half the time of what old Pythons bring along.
    for path in files:
        with open(path) as file:
            expected = sum(1 for line in file if re.match(r"[A-Za-z0-9]", line))
        pip_install(["--require-hashes", "-r", path], expected)
    # The build backend is among the pinned ones: isolation would fetch another, unpinned.
    say("the gateway itself")
    pip_install(["--no-deps", "--no-build-isolation", "-e", "."], 0)


def refuse_other_python():
    """An environment is kept, so a PYTHON that it was not made from cannot be had."""
    have, wanted = version_of(VENV_PYTHON), version_of(choose_python())
    if have and have != wanted:
        fail(
            f"{VENV} is Python {dotted(have)}, not {dotted(wanted)}: remove it (make clean), or "
            "make another beside it (VENV=.venv-other)"
        )


def main():
    name = sys.argv[1] if sys.argv[1:] else "test"
    files = [requirement_file("build"), requirement_file(name)]
    stamp = os.path.join(VENV, ".stamp-" + name)
    with open(VENV.rstrip("/") + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = time.time()
        if os.environ.get("PYTHON"):
            refuse_other_python()
        if not usable():
            make_venv(choose_python())
        digest = digest_of(files)
        if os.path.exists(stamp):
            with open(stamp) as file:
                if file.read() == digest:
                    return
        install(files)
        with open(stamp, "w") as file:
            file.write(digest)
        say(f"done in {time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
