#!/bin/bash
for f in *.sops.env; do
  sops decrypt "$f" > "${f%.sops.env}.env"
done
