from celery import shared_task


@shared_task
def name_group(name):
    from django.contrib.auth.models import Group

    Group.objects.create(name=name)
