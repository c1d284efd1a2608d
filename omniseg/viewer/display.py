"""Checks for a display and a Vulkan driver, without which the window library ends the process."""

from __future__ import annotations

import ctypes
import os
import sys

from omniseg.errors import InputError

WITHOUT_WINDOW = "omniseg segment does the same without one"
"""End of each error about a window that cannot be opened."""


def check_display() -> None:
    """Check for a display and a Vulkan driver, which can both be missing on Linux.

    Raises:
        InputError: one of them is missing.
    """
    if not sys.platform.startswith("linux"):
        return
    if not _display_answers():
        name = os.environ.get("DISPLAY")
        problem = f"the display {name} does not answer" if name else "there is no display here (DISPLAY is not set)"
        raise InputError(f"{problem}; use a desktop, ssh -X or xvfb-run,\nor no window at all: {WITHOUT_WINDOW}")
    if not _vulkan_has_device():
        raise InputError(
            "the window needs a Vulkan driver: apt-get install libvulkan1 mesa-vulkan-drivers\n"
            f"or no window at all: {WITHOUT_WINDOW}"
        )


def _display_answers() -> bool:
    """Return whether X11 can open the display; GLFW ends the process if it cannot."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return False
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = x11.XOpenDisplay(None)
    if display is not None:
        x11.XCloseDisplay(ctypes.c_void_p(display))
    return display is not None


def _vulkan_has_device() -> bool:
    """Return whether Vulkan finds a device, be it one that draws on the CPU."""
    try:
        vulkan = ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return False
    # VkInstanceCreateInfo, 64 bytes: its type, 1, then zeros, for no layers and no extensions.
    create_info, instance, count = (ctypes.c_uint64 * 8)(1), ctypes.c_void_p(), ctypes.c_uint32()
    if vulkan.vkCreateInstance(create_info, None, ctypes.byref(instance)) != 0:
        return False
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    vulkan.vkDestroyInstance(instance, None)
    return count.value > 0
