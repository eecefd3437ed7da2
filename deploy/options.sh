# shellcheck shell=bash
# What can be chosen, and how it is asked for. Sourced by deploy.sh.

usage() {
  cat <<'HELP'
usage: ./deploy.sh [options]

  --project ID          the Google Cloud project           (default: the one gcloud is set to)
  --region REGION       where everything runs              (default: europe-west1)
  --service NAME        the function's name, and what the names of all else begin with
                                                           (default: clockify-salesforce)

  --salesforce-credentials-file FILE   the sign-in's JSON; without it: asked for, if there is none
  --clockify-api-key-file FILE         creates the webhooks, finds people, repairs; without it: asked
                                       for, if there is none. Where the workspace has a region (euc1,
                                       use2, euw2, apse2) or a subdomain, this, a space and the key
  --signing-secrets-file FILE          by hand: the webhooks' signing secrets, one per line
  --workspace ID                       the Clockify workspace, if the key sees several; another one
                                       beside that of the first run is repaired too, with its own key
  --with KINDS          beside time entries: clients, projects, tasks, invoices, with commas between
                        them; none: no longer. Salesforce first: docs/salesforce.md
  --drop-old-signing-secrets           keep only the secrets of the webhooks that there are now
  --forget-api-key      do not store the API key: no owners by e-mail, no repair (--keep-api-key)

  --no-nightly-repair   do not compare and repair the last days every night, and the last months
                        every week (--nightly-repair)
  --repair-days N       what is compared every night       (default: 7)
  --repair-schedule CRON               when                (default: 17 2 * * *)
  --weekly-days N       what is compared every week        (default: 92)
  --weekly-schedule CRON               when                (default: 47 3 * * 0)
  --repair-time-zone ZONE              of both             (default: Etc/UTC)
  --alerts-to EMAIL     have Google Cloud write to this address where something is wrong (--no-alerts)

  --event-subject TEXT  how an Event is called, such as '{project}: {description}'
  --salesforce-api-version V           such as 65.0
  --max-instances N     at most so many at a time          (default: 10)
  --concurrency N       requests at a time in one of them  (default: 80)
  --memory SIZE         of one of them                     (default: 512Mi)
  --queue NAME          the retry queue                    (default: SERVICE-retry)
  --build-service-account EMAIL        who builds          (default: the project's own)

  --dry-run             print every command that would change something, and change nothing
  --delete              take away what this script made, after asking
  --yes                 do not ask
  --no-check            do not check in the end that everything works
  --help

What was chosen in an earlier run stays chosen. A FILE of - is stdin; on a terminal, what is typed
there is not shown.
HELP
}

PROJECT='' REGION=europe-west1 SERVICE=clockify-salesforce
CREDENTIALS_FILE='' SECRETS_FILE='' API_KEY_FILE='' WORKSPACE='' WITH=''
DROP_OLD='' KEEP_API_KEY='' NIGHTLY='' ALERTS_TO='' NO_ALERTS=''
EVENT_SUBJECT='' SALESFORCE_API_VERSION='' QUEUE='' BUILDER=''
# '' is what an earlier run chose, else the default.
MAX_INSTANCES=${MAX_INSTANCES:-} CONCURRENCY=${CONCURRENCY:-} MEMORY=${MEMORY:-}
REPAIR_DAYS=${REPAIR_DAYS:-} REPAIR_SCHEDULE=${REPAIR_SCHEDULE:-}
WEEKLY_DAYS=${WEEKLY_DAYS:-} WEEKLY_SCHEDULE=${WEEKLY_SCHEDULE:-}
REPAIR_TIME_ZONE=${REPAIR_TIME_ZONE:-}
DELETE='' YES='' CHECK=1

BASE_IMAGE=${BASE_IMAGE:-python313} # agrees with .python-version, which the jobs are built with
WAIT_SECONDS=${WAIT_SECONDS:-10}    # until what is new is looked at again, at first

# Marks what this script made: it deletes nothing that could carry the mark and does not.
MADE_BY=made-by=clockify-salesforce

read_options() {
  while (($#)); do
    if [[ $1 == --*=* ]]; then set -- "${1%%=*}" "${1#*=}" "${@:2}"; fi
    case $1 in
      --drop-old-signing-secrets) DROP_OLD=1 ;;
      --keep-api-key) KEEP_API_KEY=yes ;;
      --forget-api-key) KEEP_API_KEY=no ;;
      --nightly-repair) NIGHTLY=yes ;;
      --no-nightly-repair) NIGHTLY=no ;;
      --no-alerts) NO_ALERTS=1 ;;
      --dry-run) DRY_RUN=1 ;;
      --delete) DELETE=1 ;;
      --yes) YES=1 ;;
      --no-check) CHECK='' ;;
      --help | -h) usage && exit 0 ;;
      *)
        (($# > 1)) || die "unknown option, or one without its value: $1 (see ./deploy.sh --help)"
        read_value "$1" "$2"
        shift
        ;;
    esac
    shift
  done
  name_all
}

read_value() { # OPTION VALUE
  case $1 in
    --project) PROJECT=$2 ;;
    --region) REGION=$2 ;;
    --service) SERVICE=$2 ;;
    --salesforce-credentials-file) CREDENTIALS_FILE=$2 ;;
    --signing-secrets-file) SECRETS_FILE=$2 ;;
    --clockify-api-key-file) API_KEY_FILE=$2 ;;
    --workspace) WORKSPACE=$2 ;;
    --with) WITH=${2// /} ;;
    --repair-days) REPAIR_DAYS=$2 ;;
    --repair-schedule) REPAIR_SCHEDULE=$2 ;;
    --weekly-days) WEEKLY_DAYS=$2 ;;
    --weekly-schedule) WEEKLY_SCHEDULE=$2 ;;
    --repair-time-zone) REPAIR_TIME_ZONE=$2 ;;
    --alerts-to) ALERTS_TO=$2 ;;
    --event-subject) EVENT_SUBJECT=$2 ;;
    --salesforce-api-version) SALESFORCE_API_VERSION=$2 ;;
    --max-instances) MAX_INSTANCES=$2 ;;
    --concurrency) CONCURRENCY=$2 ;;
    --memory) MEMORY=$2 ;;
    --queue) QUEUE=$2 ;;
    --build-service-account) BUILDER=$2 ;;
    *) die "unknown option: $1 (see ./deploy.sh --help)" ;;
  esac
}

name_all() {
  CREDENTIALS_NAME=$SERVICE-salesforce
  SIGNING_SECRETS_NAME=$SERVICE-signing-secrets
  API_KEY_NAME=$SERVICE-clockify-api-key
}

check_options() {
  local number
  [[ $SERVICE =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] ||
    die "--service takes 6 to 30 small letters, digits and hyphens, not '$SERVICE'."
  for number in "$MAX_INSTANCES" "$CONCURRENCY" "$REPAIR_DAYS" "$WEEKLY_DAYS"; do
    [[ ! $number || $number =~ ^[1-9][0-9]{0,3}$ ]] ||
      die "--max-instances, --concurrency, --repair-days and --weekly-days take a number from 1 on," \
        "not '$number'."
  done
  [[ ! $WORKSPACE || $WORKSPACE =~ ^[0-9a-f]{24}$ ]] ||
    die "--workspace takes the id in the address of Clockify's settings page, 24 digits and letters" \
      "up to f."
  [[ ! $ALERTS_TO || $ALERTS_TO =~ ^[^@[:space:],]+@[^@[:space:],]+$ ]] ||
    die "--alerts-to takes one e-mail address."
  [[ $EVENT_SUBJECT != *'~~'* ]] || die "--event-subject must not hold ~~."
  [[ $NIGHTLY != yes || $KEEP_API_KEY != no ]] ||
    die "--nightly-repair needs the API key: leave --forget-api-key out."
  # The function's own reading of its settings; only two of them come from here.
  { printf 'EVENT_SUBJECT=%s\nSALESFORCE_API_VERSION=%s\nWITH=%s\n' "$EVENT_SUBJECT" \
    "$SALESFORCE_API_VERSION" "$WITH"; } | PYTHONPATH=$HERE "$PYTHON" -P "$HERE/deploy/check_settings.py"
}
