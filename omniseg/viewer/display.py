"""Whether a window can be opened here, found out before a library tries and takes the process with it."""

from __future__ import annotations

import ctypes
import os
import sys

from omniseg.errors import InputError


def check_desktop(instead: str) -> None:
    """Look for a display and for Vulkan, on Linux, where either may be missing.

    Args:
        instead: what a person can do without a window.
    Raises:
        InputError: there is none, and what to do.
    """
    if not sys.platform.startswith("linux"):
        return
    if not _display_answers():
        name = os.environ.get("DISPLAY")
        found = f"the display {name} does not answer" if name else "there is no display here (DISPLAY is not set)"
        raise InputError(f"{found}; use a desktop, ssh -X or xvfb-run,\nor no window at all: {instead}")
    if not _vulkan_draws():
        raise InputError(
            "the window needs a Vulkan driver: apt-get install libvulkan1 mesa-vulkan-drivers\n"
            f"or no window at all: {instead}"
        )


def _display_answers() -> bool:
    """Without a display GLFW ends the process."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return False
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = x11.XOpenDisplay(None)
    if display is not None:
        x11.XCloseDisplay(ctypes.c_void_p(display))
    return display is not None


def _vulkan_draws() -> bool:
    """A driver that draws on the processor is one, too."""
    try:
        vulkan = ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return False
    # VkInstanceCreateInfo, 64 bytes: its type, which is 1, and nothing asked for.
    wanted, instance, count = (ctypes.c_uint64 * 8)(1), ctypes.c_void_p(), ctypes.c_uint32()
    if vulkan.vkCreateInstance(wanted, None, ctypes.byref(instance)) != 0:
        return False
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    vulkan.vkDestroyInstance(instance, None)
    return count.value > 0
