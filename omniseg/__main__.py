"""`python -m omniseg NAME ...`, and `torchrun ... -m omniseg NAME ...`."""

from omniseg.commands import main

if __name__ == "__main__":
    main()
