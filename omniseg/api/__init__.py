"""The Python interface: what `import omniseg` offers."""
