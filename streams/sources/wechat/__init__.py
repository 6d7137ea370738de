"""The doors of official accounts, mini-programs and WeCom: signed callbacks."""
