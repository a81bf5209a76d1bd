# Functions of the other scripts: show their help, find a Python, and create virtual environments.

# show_help SCRIPT: the comment at its beginning
show_help() { sed -nE '1d; /^#/!q; s/^# ?//p' "$1"; }

for argument in "$@"; do
    if [ "$argument" = --help ] || [ "$argument" = -h ]; then
        show_help "$0"
        exit
    fi
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Without bytecode, each of the many processes that tests start would compile all that it imports.
unset PYTHONDONTWRITEBYTECODE

# is_python PROGRAM [VERSION]: whether it runs, and has this version, or any supported version
is_python() {
    "$1" - "${2:-}" 2>/dev/null <<'PROGRAM'
import sys
here, wanted = sys.version_info[:2], sys.argv[1]
sys.exit("%d.%d" % here != wanted if wanted else not (3, 11) <= here < (3, 15))
PROGRAM
}

# find_python [VERSION]: a Python of this version, such as 3.13, otherwise PYTHON or any supported
# version. It also looks among pyenv's versions, because pyenv's shims on PATH lead only to the chosen one.
find_python() {
    local candidate candidates=("${PYTHON:-python3}" python3) version folder
    for version in ${1:-3.13 3.12 3.11 3.14}; do
        candidates+=("python$version")
        for folder in ${PATH//:/ }; do
            candidates+=("${folder%/shims}"/versions/"$version".*/bin/python)
        done
    done
    for candidate in "${candidates[@]}"; do
        if is_python "$candidate" "${1:-}"; then
            echo "$candidate"
            return
        fi
    done
    echo "Python ${1:-3.11 to 3.14} is needed, and none was found; name one with PYTHON=" >&2
    return 1
}

# told_to_pip SETTING: a setting of pip in its configuration and environment, which uv doesn't read
told_to_pip() {
    { "$(find_python)" -m pip config list 2>/dev/null || true; } | sed -nE "s/^(:env:|[a-z]+)\.$1='(.*)'$/\2/p"
}

# has_cpu_torch VERSION: whether a build of torch without CUDA is available for this Python
has_cpu_torch() {
    local folder
    [ "$(uname)" != Darwin ] && [ -z "${UV_TORCH_BACKEND:-}" ] || return 0
    for folder in $(told_to_pip find-links); do
        ! compgen -G "$folder/torch-*-cp${1/./}-*.whl" >/dev/null || return 0
    done
    return 1
}

# is_installed FOLDER: whether this environment is up to date with the requirements, and with the
# sources of the compiled library, which all environments share
is_installed() {
    local native=retrieval_store/indexes/native file
    [ -e "$native/kernel.so" ] || return 1
    for file in pyproject.toml integrations/*/pyproject.toml constraints.txt hatch_build.py \
        "$native"/*.[ch]; do
        [ ! "$file" -nt "$1/installed" ] || return 1
    done
}

# tell_uv: sets `told` to arguments that make uv look where pip is configured to look
tell_uv() {
    local link index certificates
    told=()
    for link in $(told_to_pip find-links); do told+=(--find-links "$link"); done
    for index in $(told_to_pip index-url); do told+=(--default-index "$index"); done
    certificates=$(told_to_pip cert | tail -1)
    [ -z "$certificates" ] || export SSL_CERT_FILE=$certificates
}

constraints=constraints.txt
# install_into FOLDER ARGUMENT...: installs packages into a virtual environment, with the versions of $constraints
install_into() {
    local folder=$1 told
    shift
    tell_uv
    "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" \
        ${told[@]+"${told[@]}"} --constraint "$constraints" "$@"
}

# environment FOLDER REQUIREMENT...: a virtual environment with this project, editable, and the named
# requirements, with the versions of $constraints, also for building, and with the Python $version if
# that is set. It is installed again only if the requirements may have changed, because a check takes seconds.
environment() {
    local folder=$1 python
    shift
    if ! is_python "$folder/bin/python" "${version:-}" || [ ! -x "$folder/bin/uv" ]; then
        python=$(find_python "${version:-}")
        "$python" -m venv --clear "$folder"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint constraints.txt uv
    fi
    if ! is_installed "$folder"; then
        install_into "$folder" --build-constraint "$constraints" \
            --reinstall-package retrieval-store "$@"
        touch "$folder/installed"
    fi
}

# all_packages: sets `packages` to arguments that install the packages around the core, editable
all_packages() {
    local project
    packages=()
    for project in integrations/*/pyproject.toml; do
        packages+=(--editable "./${project%/*}")
    done
}

extras=standard,minilm,hnsw,text,remote-files,qdrant,telemetry # that the core's tests need
# environment_of_core: the environment of the core's tests, .venv-test, or .venv-test-$version if that is set
environment_of_core() {
    environment ".venv-test${version:+-$version}" --group tests --editable ".[$extras]"
}

# for_all [torch]: sets `needed` to arguments that install the project and the packages around it,
# editable, with the requirements of their tests and of tests with other stores; with `torch`, also of
# models that need torch
for_all() {
    local group project
    all_packages
    needed=(--editable ".[$extras,docs]" "${packages[@]}")
    for group in tests others ${1:+"$1"}; do needed+=(--group "$group"); done
    for project in integrations/*/pyproject.toml; do
        for group in tests ${1:+"$1"}; do
            ! grep -q "^$group = " "$project" || needed+=(--group "$project:$group")
        done
    done
}

# environment_of_all: the environment of all tests, .venv-all, or .venv-all-$version if that is set
environment_of_all() {
    local torch=torch needed
    if [ -n "${version:-}" ] && ! has_cpu_torch "$version"; then
        torch=
        echo "Python $version: no build of torch without CUDA was found; its tests are skipped" >&2
    fi
    for_all $torch
    environment ".venv-all${version:+-$version}" "${needed[@]}"
}
