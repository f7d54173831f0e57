"""The host's units for a switch. They are files: a switch that a power cut interrupts is resumed at boot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.installer import names
from deploy.installer.effects import Effect, WriteFile

#: Beside the time for the node to come back: for the kubelet to stop and the old pods to be removed.
_MARGIN_S: Final = 900

#: The agent's exit status for "I rolled back, or know that I could not": anything else means that it did not run.
DECIDED: Final = 3


def unit_files(program: str, ready_timeout_s: int) -> Iterator[Effect]:
    """`program` is the installer of one build, by its versioned path: `current` may move."""
    texts = {
        names.SWITCH_UNIT: _switch(program),
        names.ROLLBACK_UNIT: _rollback(program),
        names.ROLLBACK_TIMER: _timer(ready_timeout_s + _MARGIN_S),
    }
    for name, text in texts.items():
        yield WriteFile(path=f"{names.UNIT_DIRECTORY}/{name}", content=text.encode(), unit=True)


def _switch(program: str) -> str:
    return f"""\
# Written by coracle-installer: gives the kubelet of this node another container runtime, and rolls back if that fails.
[Unit]
Description=Coracle: switch the kubelet to this runtime
Documentation=file:{names.ROLLBACK_SCRIPT}
After={names.UNIT}
ConditionPathExists={names.JOURNAL}
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={program} host-switch
# Killed in the middle: it goes on where it was.
Restart=on-failure
RestartSec=2
RestartPreventExitStatus={DECIDED}
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
"""


def _rollback(program: str) -> str:
    return f"""\
# Written by coracle-installer: puts the kubelet back, by the installer or, when that does not run, by the script.
[Unit]
Description=Coracle: put the kubelet back to its former runtime
Conflicts={names.SWITCH_UNIT}
After={names.SWITCH_UNIT}
ConditionPathExists={names.JOURNAL}

[Service]
Type=oneshot
ExecStart=/bin/sh -c '{program} host-rollback; status=$?; case $status in 0|{DECIDED}) exit $status;; esac; \
exec /bin/sh {names.ROLLBACK_SCRIPT}'
# Killed in the middle, with the kubelet stopped: nobody else would go on.
Restart=on-abnormal
RestartSec=2
TimeoutStartSec=infinity
"""


def _timer(seconds: int) -> str:
    return f"""\
# Written by coracle-installer: armed while a switch is under way, disarmed by its success.
[Unit]
Description=Coracle: roll the kubelet back if the switch does not end

[Timer]
OnActiveSec={seconds}
Unit={names.ROLLBACK_UNIT}

[Install]
WantedBy=timers.target
"""
